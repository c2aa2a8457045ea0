"""Any one step as a command: `featherlite STEP IN OUT [--key value ...]`.

The step's config gives the flags. A step that needs nothing starts a road and reads photos (`DATA [OUT]`); a step that
provides nothing only measures, so its OUT may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from featherlite.cli.arguments import CommandOptions, Parser, add_fields, given, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.step import MAX_SEED, Step, load_step

__all__ = ["run_step_command", "step_parser"]

IN, OUT, DATA = "IN", "OUT", "DATA"
"""What the command itself takes; in capitals, so that no setting of a step is called alike."""

TRAIN = "train"
"""The step whose settings the others that train share."""

PHOTOS = (
    "the photos: a folder per class, train/valid/test folders, a CSV or Parquet table, Parquet with photos inside, tar"
    " shards, or hub:owner/name"
)


class SeedOptions(CommandOptions):
    """The seed, for steps whose config has none of its own."""

    seed: int = Field(0, ge=0, le=MAX_SEED)
    """seed of everything random"""


def step_parser(step: Step, *, brief: bool = False) -> Parser:
    """The parser of a step's sub-command; `brief` leaves out what it takes just as `train` does."""
    made = parser(f"featherlite {step.name}", step.summary)
    if step.needs:
        made.add_argument(IN, type=given, help="bundle to start from (a run's folder means its last bundle)")
        made.add_argument(
            "--data",
            dest=DATA,
            metavar="PATH",
            type=given,
            help="the photos, as for featherlite run; remembered from the bundle's making on this machine",
        )
    else:
        made.add_argument(DATA, type=given, help=PHOTOS)
    optional = not step.needs or not step.provides
    note = "new folder for the result" + ("; left out, nothing is kept" if optional else "")
    made.add_argument(OUT, type=given, nargs="?" if optional else None, help=note)
    if "seed" not in step.config.model_fields:
        add_fields(made, SeedOptions)
    shared, taken = _shared_with_train(step), set(step.config.taken())
    add_fields(made, step.config, taken - shared)
    if shared and brief:
        made.epilog = _and_those_of_train(shared, taken)
    elif shared:
        add_fields(made.add_argument_group(f"training, as in featherlite {TRAIN}"), step.config, shared)
    return made


def _shared_with_train(step: Step) -> set[str]:
    """The settings that another step which trains has just as `train` has them."""
    theirs = load_step(TRAIN).config.model_fields if step.name != TRAIN else {}
    own = step.config.model_fields
    return {name for name in step.config.taken() if name in theirs and _same(own[name], theirs[name])}


def _and_those_of_train(shared: set[str], taken: set[str]) -> str:
    """Which settings of `train` a step takes beside those that are listed: by name, or all but a few."""
    theirs = load_step(TRAIN).config.model_fields
    others = [name for name in theirs if name not in taken]
    if len(others) > len(shared):
        return f"And as for featherlite {TRAIN}: {_flags(name for name in theirs if name in shared)}."
    but = f", but for {_flags(others)}" if others else ""
    return f"And all settings of featherlite {TRAIN} that are not listed here{but}."


def _flags(names: Iterable[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _same(one: FieldInfo, other: FieldInfo) -> bool:
    return (one.annotation, one.default, one.description) == (other.annotation, other.default, other.description)


def run_step_command(name: str, argv: list[str], terminal: Terminal) -> int:
    """Runs the step and shows its row; returns the exit code."""
    from featherlite.bundle import Bundle
    from featherlite.run import run_step

    step = load_step(name)
    values = vars(step_parser(step).parse_args(argv))
    config = parse(step.config, {key: values[key] for key in step.config.taken()}, f"featherlite {name}")
    seed = parse(SeedOptions, {"seed": values["seed"]}, f"featherlite {name}").seed
    source, out = values.get(IN), values.get(OUT)
    bundle, report = run_step(
        name,
        Bundle.open(source) if source else None,
        Path(out) if out else None,
        config,
        data=Path(values[DATA]) if values.get(DATA) else None,
        seed=seed,
        progress=terminal.progress(),
    )
    terminal.close()
    document: dict[str, Any] = {**report.details, "step": name, "bundle": out, "row": report.model_dump(mode="json")}
    from featherlite.report.ladder import ladder_rows, ladder_table
    from featherlite.report.scores import score_lines

    rows = ladder_rows(bundle.history, bundle.read_json("verify.json") if "verify.json" in bundle else None)
    terminal.show(ladder_table(rows))
    if out:
        terminal.show(f"Written to {out}.")
    if step.reads_test:
        document["metrics"] = bundle.metrics
        terminal.show(*score_lines(bundle.metrics))
    terminal.finish(document)
    return 0
