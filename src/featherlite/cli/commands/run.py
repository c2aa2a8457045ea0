"""walks a recipe from photos to a proven artefact; goes on where it stopped"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from featherlite.cli.arguments import CommandOptions, Positional, add_fields, parse, parser
from featherlite.cli.road import walk
from featherlite.cli.terminal import Terminal
from featherlite.step import MAX_SEED


class RunOptions(CommandOptions):
    """What `featherlite run` takes."""

    recipe: Annotated[str, Positional()]
    """name of a shipped recipe (featherlite recipes), or a TOML file"""
    data: Path
    """the photos: a folder per class, train/valid/test folders, a CSV or Parquet table, Parquet with photos inside, tar
    shards, or hub:owner/name"""
    out: Path
    """folder for the results; a run that was stopped goes on there"""
    set: list[str] = Field(default_factory=list)
    """overrides, each as step.key=value"""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """seed of everything random (default: the recipe's)"""


def main(argv: list[str], terminal: Terminal) -> int:
    """Walks the recipe; returns the exit code."""
    from featherlite.recipe import load_recipe

    made = parser("featherlite run", "Walk a recipe from photos to a proven artefact.")
    add_fields(made, RunOptions)
    options = parse(RunOptions, _fields(vars(made.parse_args(argv))), "featherlite run")
    recipe = load_recipe(options.recipe, options.set).with_seed(options.seed)
    terminal.finish(walk(recipe, options.data, options.out, terminal))
    return 0


def _fields(values: dict[str, object]) -> dict[str, object]:
    return {key: values[key] for key in RunOptions.model_fields}
