"""Recipes: a TOML list of steps becomes typed configs, and every fault in it is told at once, before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from featherlite.errors import FeatherliteError, RecipeError, RequestError, did_you_mean
from featherlite.reference import Reference
from featherlite.step import MAX_SEED, Step, StepConfig, load_step

__all__ = [
    "PlannedStep",
    "Recipe",
    "config_faults",
    "is_study",
    "load_recipe",
    "parse_recipe",
    "read_toml",
    "shipped_recipes",
    "shipped_studies",
    "step_ids",
]

SHIPPED = Path(__file__).parent / "recipes"
TOP_KEYS = ("title", "description", "seed", "steps", "reference")
STUDY_KEYS = ("networks", "road")
"""What only a study has: a TOML of many networks, for `featherlite compare`."""


@dataclass(frozen=True)
class PlannedStep:
    """One step of a recipe with its checked config; `id` differs from the step's name where one occurs twice."""

    id: str
    step: Step
    config: StepConfig
    seed: int | None = None
    """seed of its own; none means the run's"""


@dataclass(frozen=True)
class Recipe:
    """A checked road: a title and the steps in their order."""

    name: str
    title: str
    description: str
    seed: int
    steps: tuple[PlannedStep, ...]
    reference: Reference | None = None
    """somebody else's ladder, to be shown beside what this road measures"""
    overrides: tuple[str, ...] = ()
    """what was asked for beside the recipe's own text, each as typed: step.key=value"""
    given_seed: int | None = None
    """the seed that was asked for; none means the recipe's own"""

    def with_seed(self, seed: int | None) -> Recipe:
        """The same road under another seed; the recipe's own where none is given."""
        return self if seed is None else replace(self, seed=seed, given_seed=seed)

    def with_own_seeds(self, seeds: Sequence[int | None]) -> Recipe:
        """The same road in which each step has the seed at its place, or the road's where that is None."""
        pairs = zip(self.steps, seeds, strict=True)
        return replace(self, steps=tuple(replace(plan, seed=seed) for plan, seed in pairs))

    def to_json(self) -> dict[str, Any]:
        """The recipe with every value spelled out, as JSON."""
        steps = [{"step": p.step.name, "id": p.id, **p.config.model_dump(mode="json")} for p in self.steps]
        document = {"name": self.name, "title": self.title, "seed": self.seed, "steps": steps}
        return document | ({"reference": self.reference.model_dump(mode="json")} if self.reference else {})


def shipped_recipes() -> Mapping[str, Path]:
    """The recipes that come with featherlite: name -> TOML file."""
    return {name: path for name, path in _shipped().items() if not is_study(_parsed(path))}


def shipped_studies() -> Mapping[str, Path]:
    """The studies that come with featherlite: name -> TOML file."""
    return {name: path for name, path in _shipped().items() if is_study(_parsed(path))}


def is_study(document: Mapping[str, Any]) -> bool:
    """Whether a parsed TOML describes a study of many networks rather than a recipe of one."""
    return any(key in document for key in STUDY_KEYS)


def read_toml(source: str | Path, what: str) -> tuple[str, dict[str, Any]]:
    """Name and content of a TOML file, or of a shipped one of that name; `what` says what it should be ('recipe').

    Raises:
        RequestError: there is none.
        RecipeError: it is not TOML.
    """
    shipped = _shipped()
    name = str(source).removeprefix("recipes/").removesuffix(".toml")
    path = Path(source) if Path(source).is_file() else shipped.get(name)
    if path is None:
        fitting = shipped_studies() if what == "study" else shipped_recipes()
        raise RequestError(f"There is no {what} '{source}'.", did_you_mean(name, fitting))
    try:
        return path.stem, _parsed(path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(str(source), [f"not valid TOML: {error}"]) from None


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name, or in that TOML file, with `step.key=value` overrides applied.

    Raises:
        RequestError: there is no such recipe, or it is a study.
        RecipeError: its faults, all of them.
    """
    name, document = read_toml(source, "recipe")
    if is_study(document):
        raise RequestError(
            f"'{source}' is a study of several networks, not a recipe of one.",
            f"Compare them: featherlite compare {source} --data PHOTOS --out OUT",
        )
    return parse_recipe(document, name, overrides)


def parse_recipe(
    document: Mapping[str, Any],
    name: str,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe that a parsed document describes; `values` are overrides that are parsed already: step.key -> value.

    Raises:
        RecipeError: unknown keys and steps, wrong values, bad overrides, and steps that need what none before them
            provides; all of them together.
    """
    faults = [f"unknown key '{key}'. {did_you_mean(key, TOP_KEYS)}".strip() for key in document if key not in TOP_KEYS]
    seed = document.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        faults.append(f"seed: {seed!r} is not a whole number from 0 to {MAX_SEED}")
        seed = 0
    entries = _entries(document.get("steps"), faults)
    for target, value in (values or {}).items():
        _override(target, value, f"set {target}", entries, faults)
    _apply(overrides, entries, faults)
    planned = [plan for id_, entry in entries.items() if (plan := _plan(id_, entry, faults)) is not None]
    if len(planned) == len(entries):
        faults += _unmet(planned)
    reference = _reference(document.get("reference"), faults)
    if faults:
        raise RecipeError(f"Recipe '{name}'", faults)
    return Recipe(
        name=name,
        title=str(document.get("title", name)),
        description=str(document.get("description", "")),
        seed=seed,
        steps=tuple(planned),
        reference=reference,
        overrides=tuple(overrides),
    )


def step_ids(steps: Any) -> tuple[str, ...]:
    """The ids of these step tables, as overrides name them; tables with faults are passed over."""
    return tuple(_entries(steps, []))


def config_faults(error: ValidationError, model: type[BaseModel], where: str) -> list[str]:
    """A config's faults as sentences: where, the value, what is allowed; the nearest known key for an unknown one."""
    faults = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            faults.append(f"{where}: unknown key '{key}'. {did_you_mean(key, model.model_fields)}")
        elif item["type"] == "missing":
            faults.append(f"{where}.{key}: a value is needed")
        else:
            message = item["msg"].removeprefix("Value error, ")
            prefix = f"{where}.{key}" if key else where
            value = f" {item['input']!r}:" if key else ""
            faults.append(f"{prefix}:{value} {message[0].lower()}{message[1:]}")
    return faults


def _shipped() -> Mapping[str, Path]:
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def _parsed(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def _entries(steps: Any, faults: list[str]) -> dict[str, dict[str, Any]]:
    """The step tables by id: the `id` key, else the step's name, numbered from its second occurrence on."""
    if not isinstance(steps, list) or not steps:
        faults.append("there are no [[steps]]")
        return {}
    entries: dict[str, dict[str, Any]] = {}
    for position, table in enumerate(steps, start=1):
        if not isinstance(table, dict) or not isinstance(table.get("step"), str):
            faults.append(f"step {position}: a [[steps]] table with a text key 'step' is needed")
            continue
        base = str(table.get("id", table["step"]))
        id_, count = base, 1
        while id_ in entries:
            if "id" in table:
                faults.append(f"step {position}: the id '{base}' is taken")
            count += 1
            id_ = f"{base}-{count}"
        entries[id_] = {key: value for key, value in table.items() if key != "id"}
    return entries


def _apply(overrides: Sequence[str], entries: dict[str, dict[str, Any]], faults: list[str]) -> None:
    for override in overrides:
        target, equals, text = override.partition("=")
        if equals:
            _override(target, _toml_value(text.strip()), f"--set {override}", entries, faults)
        else:
            faults.append(f"--set {override}: must look like step.key=value")


def _override(target: str, value: Any, said: str, entries: dict[str, dict[str, Any]], faults: list[str]) -> None:
    """Gives one key of one step another value; `said` is how the user asked for it."""
    id_, dot, key = target.strip().rpartition(".")
    if not dot or not key:
        faults.append(f"{said}: must look like step.key=value")
    elif id_ not in entries:
        faults.append(f"{said}: the recipe has no step '{id_}'. {did_you_mean(id_, entries)}")
    elif key == "step":
        faults.append(f"{said}: a step cannot become another one; write a recipe of your own")
    else:
        entries[id_][key.replace("-", "_")] = value


def _toml_value(text: str) -> Any:
    """`text` read as a TOML value where it is one (3, 0.5, true, [1, 2]), else as plain text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _plan(id_: str, entry: dict[str, Any], faults: list[str]) -> PlannedStep | None:
    try:
        step = load_step(entry["step"])
    except FeatherliteError as error:
        faults.append(f"{id_}: {error.message[0].lower()}{error.message[1:]} {error.hint}".strip())
        return None
    try:
        config = step.config.model_validate({key: value for key, value in entry.items() if key != "step"})
    except ValidationError as error:
        faults.extend(config_faults(error, step.config, id_))
        return None
    faults += [f"{id_}: there is no file {path}" for path in config.files() if not path.is_file()]
    return PlannedStep(id_, step, config)


def _reference(document: Any, faults: list[str]) -> Reference | None:
    """Somebody else's ladder; None where there is none, or a faulty one."""
    if document is None:
        return None
    try:
        return Reference.model_validate(document)
    except ValidationError as error:
        faults.extend(config_faults(error, Reference, "reference"))
        return None


def _unmet(planned: Sequence[PlannedStep]) -> list[str]:
    """One fault for each step that needs what no step before it provides."""
    faults: list[str] = []
    provided: set[str] = set()
    networks: list[str] = []
    for place, plan in enumerate(planned):
        for need in sorted(plan.step.needs - provided):
            if need == "export:*" and any(what.startswith("export:") for what in provided):
                continue
            makers = [other.id for other in planned[place + 1 :] if need in other.step.provides]
            where = f"'{makers[0]}' provides it, but comes later" if makers else "no step of the recipe provides it"
            faults.append(f"{plan.id}: needs '{need}'; {where}")
        for id_ in plan.config.earlier():
            if id_ not in networks:
                near = did_you_mean(id_, networks)
                faults.append(f"{plan.id}: no step '{id_}' with a network comes before it. {near}".strip())
        provided |= plan.step.provides
        networks += [plan.id] if "network" in provided else []
    return faults
