"""What every row ends with: its artefacts in three precisions, and one reading of the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from featherlite.errors import FeatherliteError
from featherlite.recipe import Recipe
from featherlite.step import Step, load_step

__all__ = ["FLOATS", "Tail", "changed_tail", "early_faults", "tail_of", "without"]

FLOATS = ("float32", "float16")


@dataclass(frozen=True)
class Tail:
    """Step tables, and the place among them of the one that may fail: not every network can be computed in int8."""

    tables: tuple[dict[str, Any], ...]
    optional: int | None


def tail_of(tables: Sequence[Mapping[str, Any]]) -> Tail:
    """What has to follow these steps; artefacts that they make themselves are not made again."""
    formats: set[str] = set()
    quantized = False
    for table in tables:
        step = _step(table)
        if step is not None and "network" in step.provides:  # former artefacts are of another network
            formats, quantized = set(), False
        elif step is not None and step.name == "export":
            named = table.get("formats", FLOATS[:1])
            formats |= {one for one in named if isinstance(one, str)} if isinstance(named, list | tuple) else set()
        elif step is not None and step.name == "quantize":
            quantized = True
    made: list[dict[str, Any]] = []
    missing = [one for one in FLOATS if one not in formats]
    if missing:
        made.append({"step": "export", "formats": missing})
    optional = None if quantized else len(made)
    if not quantized:
        made.append({"step": "quantize"})
    made.append({"step": "evaluate", "subjects": ["network", "int8"]})
    return Tail(tuple(made), optional)


def changed_tail(recipe: Recipe, tail: Tail) -> list[str]:
    """The ids of the steps at the end that an override has changed; how the int8 artefact is made may be."""
    plans = recipe.steps[len(recipe.steps) - len(tail.tables) :]
    return [
        plan.id
        for plan, table in zip(plans, tail.tables, strict=True)
        if plan.step.name != "quantize"
        and plan.config != plan.step.config.model_validate({key: table[key] for key in table if key != "step"})
    ]


def without(recipe: Recipe, optional: str) -> Recipe:
    """The recipe without its optional step, in which nothing asks for what that would have made."""
    steps = [plan for plan in recipe.steps if plan.id != optional]
    if len(steps) < len(recipe.steps):
        config = steps[-1].config.model_copy(update={"subjects": ("network",)})
        steps[-1] = replace(steps[-1], config=config)
    return replace(recipe, steps=tuple(steps))


def early_faults(shared: Sequence[Mapping[str, Any]], roads: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """One fault for each step that opens the test split before the end."""
    faults = []
    for where, tables in [("steps", shared), *((f"road '{name}'", tables) for name, tables in roads.items())]:
        for table in tables:
            step = _step(table)
            if step is not None and step.reads_test and table.get("split", "test") == "test":
                faults.append(
                    f"{where}: '{step.name}' opens the test split, which a comparison does once, at the end. "
                    'Leave it out, or give it split = "val".'
                )
    return faults


def _step(table: Mapping[str, Any]) -> Step | None:
    """The step that a table names; None where there is none, which the recipe's reader tells."""
    try:
        return load_step(str(table.get("step")))
    except FeatherliteError:
        return None
