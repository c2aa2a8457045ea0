"""The checks of the audit, one file each. A file that holds a function under `@check` is found by its name.

A check that judges pixels also has a function `measure(view) -> float`; its figure is taken while the photo is decoded,
once, and stands in `evidence.looks[name]` for every photo when the check is asked for its judgement.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from featherlite.data.findings import Issue
from featherlite.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from featherlite.data.evidence import Evidence
    from featherlite.data.look import View

__all__ = ["Check", "check", "check_names", "load_check", "measured_checks"]

Judge = Callable[["Evidence"], Iterable[Issue]]
Measure = Callable[["View"], float]
Function = TypeVar("Function", bound=Judge)


@dataclass(frozen=True)
class Check:
    """A check: its name (with dashes), what it looks for, and what it is allowed to do to a run.

    `blocks`: a run stops where it finds something, unless told to go on. `needs_features`: it wants features of the
    photos, which cost a pass of a network over each; `needs_trained` ones: hand-made features tell it nothing.
    """

    name: str
    summary: str
    judge: Judge
    blocks: bool
    needs_features: bool
    needs_trained: bool


def check(
    *, blocks: bool = False, needs_features: bool = False, needs_trained: bool = False
) -> Callable[[Function], Function]:
    """Declares the function below it as the check of its file."""

    def declare(function: Function) -> Function:
        function.__featherlite_check__ = (blocks, needs_features or needs_trained, needs_trained)  # type: ignore[attr-defined]
        return function

    return declare


@cache
def check_names() -> Mapping[str, str]:
    """Every check there is: name -> what it looks for. Reads the files; imports none of them."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        summary = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]
        found[file.stem.replace("_", "-")] = summary
    return found


@cache
def load_check(name: str) -> Check:
    """The check of that name, imported.

    Raises:
        RequestError: there is none; the nearest known name is suggested.
    """
    if name not in check_names():
        raise RequestError(f"There is no check '{name}'.", did_you_mean(name, check_names()))
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    judges = [value for value in vars(module).values() if hasattr(value, "__featherlite_check__")]
    if len(judges) != 1:
        raise TypeError(f"{module.__name__} must declare exactly one @check function, found {len(judges)}")
    return Check(name, check_names()[name], judges[0], *judges[0].__featherlite_check__)


@cache
def measured_checks() -> Mapping[str, Measure]:
    """The checks that measure pixels: file name -> `measure`."""
    measures: dict[str, Measure] = {}
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        if "\ndef measure(" in file.read_text("utf-8"):
            measures[file.stem] = importlib.import_module(f"{__name__}.{file.stem}").measure
    return measures
