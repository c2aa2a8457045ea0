"""trains many networks on the same photos and says which one to ship; goes on where it stopped"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from featherlite.cli.arguments import CommandOptions, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import RequestError

if TYPE_CHECKING:
    from featherlite.comparison import Comparison
    from featherlite.study.plan import Study


class CompareOptions(CommandOptions):
    """What `featherlite compare` takes."""

    study: Annotated[str | None, Positional()] = None
    """name of a shipped study (featherlite recipes), or a TOML file"""
    data: Path
    """the photos, as for featherlite run"""
    out: Path
    """folder for the results; a comparison that was stopped goes on there"""
    networks: str = ""
    """backbones to train alike at 96 px, such as feathernet,MobileNetV2, in the place of a study"""
    only: list[str] = Field(default_factory=list)
    """rows to work on, by name; what was finished of others before stays in the comparison"""
    seeds: str = ""
    """seeds to train every row with, such as 0,1,2 (default: the study's)"""
    folds: int | None = None
    """cut the photos into so many folds, so that each is tested once, by a network that has not seen it"""
    set: list[str] = Field(default_factory=list)
    """overrides for all rows that have the step, each as step.key=value"""
    weigh: str = ""
    """what counts in the recommendation, such as accuracy=1,size=0.2,time=0.2: the cost of each point of top-1 lost, of
    each doubling of the size and of the time"""
    rounds: int = Field(5, ge=0, le=100)
    """how often each artefact is timed, all of them in turn; 0 for no timing"""


def main(argv: Sequence[str], terminal: Terminal) -> int:
    """Trains, times, compares, shows; returns 1 where a row failed, or a seed of one."""
    from featherlite.study.walk import walk_study

    made = parser("featherlite compare", "Train many networks on the same photos and say which one to ship.")
    add_fields(made, CompareOptions)
    if argv[:1]:
        _refuse_folder(argv[0])  # before it is told that --data lacks
    values = vars(made.parse_args(argv))
    options = parse(CompareOptions, {key: values[key] for key in CompareOptions.model_fields}, "featherlite compare")
    study = _study(options)
    try:
        comparison = walk_study(
            study,
            options.data,
            options.out,
            only=[name.strip() for names in options.only for name in names.split(",")],
            rounds=options.rounds,
            command=_again(argv),
            progress=terminal.progress(),
            tell=terminal.show,
        )
    except KeyboardInterrupt:
        terminal.close()
        _tell_what_is_done(options.out, terminal)
        raise
    terminal.close()
    page = _show(comparison, options.out, terminal)
    terminal.finish({**comparison.document(), "out": str(options.out), "report": str(page)})
    return 1 if any(row.status == "failed" or row.failed_seeds for row in comparison.rows) else 0


def _again(argv: Sequence[str]) -> str:
    """The command that makes the whole comparison again: --only is how it was made, not what it holds."""
    words = ["featherlite", "compare"]
    given = iter(argv)
    for word in given:
        if word == "--only":
            next(given, None)
        elif word not in ("--json", "--quiet", "--debug") and not word.startswith("--only="):
            words.append(word)
    return shlex.join(words)


def _study(options: CompareOptions) -> Study:
    """The study that the options ask for."""
    from featherlite.study.plan import load_study, parse_study, quick_study

    given: dict[str, Any] = {"overrides": options.set, "folds": options.folds, "weigh": _weigh(options.weigh)}
    given["seeds"] = _seeds(options.seeds)
    if bool(options.study) == bool(options.networks):
        raise RequestError(
            "featherlite compare needs a study or --networks, and not both.",
            "Name a study (featherlite recipes), or networks: --networks feathernet,MobileNetV2",
        )
    if options.study:
        _refuse_folder(options.study)
        return load_study(options.study, **given)
    names = list(dict.fromkeys(name.strip() for name in options.networks.split(",") if name.strip()))
    return parse_study(quick_study(names), "networks", **given)


def _refuse_folder(named: str) -> None:
    """Nothing, unless what stands in the study's place is a folder: of a comparison made before, or of photos.

    Raises:
        RequestError: it is one.
    """
    from featherlite.comparison import read_comparison
    from featherlite.errors import FeatherliteError
    from featherlite.recipe import shipped_recipes, shipped_studies
    from featherlite.report.comparison_page import PAGE

    folder = Path(named)
    if not folder.is_dir() or named in (*shipped_studies(), *shipped_recipes()):
        return
    hint = f"Name a study (featherlite recipes) or its .toml. Photos go into --data: --data {named}"
    with contextlib.suppress(FeatherliteError):
        command = read_comparison(folder).command
        hint = f"It holds a comparison: open {folder / PAGE}" + (f", or go on with: {command}" if command else ".")
    raise RequestError(f"'{named}' is a folder, not a study.", hint)


def _seeds(text: str) -> list[int] | None:
    """The seeds in '0,1,2'; None where nothing was given."""
    if not text.strip():
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise RequestError(f"--seeds: '{text}' is no list of whole numbers.", "Such as: --seeds 0,1,2") from None


def _weigh(text: str) -> dict[str, float]:
    """The weights in 'accuracy=1,size=0.2'."""
    hint = "Such as: --weigh accuracy=1,size=0.2,time=0.2"
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = part.partition("=")
        try:
            found[key.strip()] = float(value)
        except ValueError:
            raise RequestError(f"--weigh: '{part}' is not a name and a number.", hint) from None
    return found


def _show(comparison: Comparison, out: Path, terminal: Terminal) -> Path:
    """Shows the table, which says what failed and what to ship; the path of the page, written with the comparison."""
    from featherlite.report.comparison_page import PAGE
    from featherlite.report.comparison_table import comparison_table

    page = out / PAGE
    terminal.show("", comparison_table(comparison), "")
    terminal.show(f"Page: {page}   Tables: {out / 'comparison.csv'}, {out / 'comparison.parquet'}")
    return page


def _tell_what_is_done(out: Path, terminal: Terminal) -> None:
    """Shows what a study had compared when it was stopped."""
    from featherlite.comparison import read_comparison
    from featherlite.errors import FeatherliteError

    with contextlib.suppress(FeatherliteError, OSError):  # that it was stopped is what must be told
        comparison = read_comparison(out)
        if comparison.rows:
            _show(comparison, out, terminal)
