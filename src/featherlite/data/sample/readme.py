"""The text that lies beside the drawings and says what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featherlite.data.sample.faults import EXPLAINED

if TYPE_CHECKING:
    from featherlite.data.sample import SampleConfig


TITLE = "Sample photos drawn by featherlite"
"""The first line, by which a folder of drawings is known again."""


def readme_text(config: SampleConfig, names: tuple[str, ...], alike: tuple[tuple[str, str], ...]) -> str:
    """The README.txt of a folder of drawings."""
    lines = [
        TITLE,
        "==================================",
        "",
        "These are DRAWINGS made by a program, not photographs, and the species are invented.",
        "They let you try featherlite without a data set of your own.",
        "",
        "Scores on these drawings are NO EVIDENCE about real birds: a model that tells them apart has",
        "learned how featherlite draws, nothing more. Do not quote them as accuracy on birds.",
        "",
        "Licence: the drawings are dedicated to the public domain (CC0-1.0); where that is not possible,",
        "the Apache License 2.0, the licence of featherlite, applies.",
        "",
        f"Drawn with: featherlite sample OUT --species {config.species} --photos {config.photos} --px {config.px}"
        f" --seed {config.seed}{' --faults' if config.faults else ''}",
        "",
        "Species:",
        *(f"  {name}" for name in names),
    ]
    if alike:
        lines += [
            "",
            "Alike on purpose (they differ in one or two field marks):",
            *(f"  {a} / {b}" for a, b in alike),
        ]
    if config.faults:
        lines += ["", "Planted faults, each file listed in faults.csv (path, fault, of):"]
        lines += [f"  {fault}: {meaning}" for fault, meaning in EXPLAINED.items()]
    return "\n".join(lines) + "\n"
