"""Studies: a TOML of networks and roads becomes one checked recipe a row, and every fault is told at once.

A row is: the shared `[[steps]]`, the steps of its `[[road.NAME]]`, its own `set`, and at the end what compares it with
the others (see `study/tail.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featherlite.comparison import Weigh
from featherlite.errors import RecipeError, RequestError, did_you_mean
from featherlite.recipe import Recipe, is_study, parse_recipe, read_toml, step_ids
from featherlite.study.document import Network, folds_of, networks_of, roads_of, seeds_of, tables_of, weigh_of
from featherlite.study.faults import gathered
from featherlite.study.tail import Tail, changed_tail, early_faults, tail_of

__all__ = ["Entry", "Job", "Study", "load_study", "parse_study", "quick_study"]

TOP_KEYS = ("title", "description", "seed", "seeds", "folds", "weigh", "steps", "road", "networks")


@dataclass(frozen=True)
class Job:
    """One network to be trained once: a row under one seed, and in one fold where there are folds."""

    name: str
    seed: int
    fold: int | None
    recipe: Recipe
    optional: str
    """id of the step that may fail without failing the row; empty where there is none"""
    tail: int
    """how many steps at the end measure rather than make the network"""

    @property
    def place(self) -> Path:
        """Its folder, relative to the study's."""
        return Path("rows", self.name, f"seed-{self.seed}" + ("" if self.fold is None else f"-fold-{self.fold}"))

    @property
    def called(self) -> str:
        """How it is told of: 'ResNet18, seed 0'."""
        return f"{self.name}, seed {self.seed}" + ("" if self.fold is None else f", fold {self.fold}")


@dataclass(frozen=True)
class Entry:
    """One row: a network under a road, with one recipe for each fold (one alone without folds)."""

    name: str
    model: str
    weights: str
    road: str
    recipes: tuple[Recipe, ...]
    optional: str
    tail: int


@dataclass(frozen=True)
class Study:
    """A checked study."""

    name: str
    title: str
    description: str
    seed: int
    """of the steps up to the split: every row is tested on the same photos, whatever it is trained with"""
    seeds: tuple[int, ...]
    folds: int | None
    weigh: Weigh
    shared: int
    """how many steps all rows begin with"""
    entries: tuple[Entry, ...]

    def jobs(self, only: Sequence[str] = ()) -> list[Job]:
        """All there is to train, seed by seed, so that a study that is stopped has compared all rows in some seeds.

        Raises:
            RequestError: `only` names a row that there is not.
        """
        names = [entry.name for entry in self.entries]
        for name in only:
            if name not in names:
                raise RequestError(f"The study '{self.name}' has no row '{name}'.", did_you_mean(name, names))
        return [
            Job(
                entry.name,
                seed,
                None if self.folds is None else fold,
                recipe.with_seed(seed),
                entry.optional,
                entry.tail,
            )
            for seed in self.seeds
            for entry in self.entries
            if not only or entry.name in only
            for fold, recipe in enumerate(entry.recipes)
        ]

    def to_json(self) -> dict[str, Any]:
        """What the study compares, as JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "seed": self.seed,
            "seeds": list(self.seeds),
            "folds": self.folds,
            "weigh": self.weigh.model_dump(),
            "networks": [
                {"name": entry.name, "model": entry.model, "weights": entry.weights, "road": entry.road}
                for entry in self.entries
            ],
        }

    def prelude(self) -> Recipe:
        """The steps that all rows begin with, as a recipe of their own."""
        first = self.entries[0].recipes[0]
        return replace(first, name=f"{self.name}-shared", seed=self.seed, steps=first.steps[: self.shared])


def load_study(source: str | Path, **options: Any) -> Study:
    """The study of that name, or in that TOML file; `options` as for `parse_study`.

    Raises:
        RequestError: there is no such study, or it is a recipe.
        RecipeError: its faults, all of them.
    """
    name, document = read_toml(source, "study")
    if not is_study(document):
        raise RequestError(
            f"'{source}' is a recipe of one network, not a study of several.",
            f"Walk it: featherlite run {source} --data PHOTOS --out OUT",
        )
    return parse_study(document, name, **options)


def quick_study(networks: Sequence[str]) -> dict[str, Any]:
    """The document of a study of these backbones, trained alike at 96 px, behind the first one's frozen features.

    Frozen features with a logistic regression take seconds, and with few photos a trained network may not beat them.
    """
    build = {"step": "build", "input_px": 96}
    frozen = {"name": f"{networks[0]} frozen", "road": "frozen", "set": {"build.backbone": networks[0]}}
    trained = [{"name": name, "road": "trained", "set": {"build.backbone": name}} for name in networks]
    return {
        "title": f"{', '.join(networks)}, trained alike at 96 px",
        "steps": [{"step": "audit"}, {"step": "clean"}, {"step": "split"}],
        "road": {"frozen": [build, {"step": "probe"}], "trained": [build, {"step": "train"}]},
        "networks": [frozen, *trained],
    }


def parse_study(
    document: Mapping[str, Any],
    name: str,
    *,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    folds: int | None = None,
    weigh: Mapping[str, float] | None = None,
) -> Study:
    """The study that a parsed document describes; what is given beside it goes before what stands in it.

    An override of a step that only some roads have is for the rows of those roads.

    Raises:
        RecipeError: unknown keys, roads and steps, doubled or hostile names, wrong values; all of them together.
    """
    faults = [f"unknown key '{key}'. {did_you_mean(key, TOP_KEYS)}".strip() for key in document if key not in TOP_KEYS]
    seed = seeds_of([document.get("seed", 0)], "seed", faults)[0]
    chosen = seeds_of(document.get("seeds", [0]) if seeds is None else list(seeds), "seeds", faults)
    folds = folds_of(document.get("folds") if folds is None else folds, faults)
    weights = weigh_of(document.get("weigh", {}), weigh or {}, faults)
    shared = tables_of(document.get("steps", []), "steps", faults)
    roads = roads_of(document.get("road"), faults)
    networks = networks_of(document.get("networks"), roads, faults)
    tails = {road: tail_of([*shared, *tables]) for road, tables in roads.items()}
    steps = {road: [*shared, *tables, *tails[road].tables] for road, tables in roads.items()}
    faults += early_faults(shared, roads)
    faults += _idle(overrides, steps.values())
    entries, found = [], {}
    for network in networks:
        entry = _entry(network, steps[network.road], tails[network.road], overrides, folds, seed)
        if isinstance(entry, Entry):
            entries.append(entry)
        else:
            found[network.name] = entry
    faults += gathered(found, {network.name: network.road for network in networks})
    if faults:
        raise RecipeError(f"Study '{name}'", faults)
    return Study(
        name=name,
        title=str(document.get("title", name)),
        description=str(document.get("description", "")),
        seed=seed,
        seeds=tuple(chosen),
        folds=folds,
        weigh=weights,
        shared=len(shared),
        entries=tuple(entries),
    )


def _entry(
    network: Network,
    steps: Sequence[Mapping[str, Any]],
    tail: Tail,
    overrides: Sequence[str],
    folds: int | None,
    seed: int,
) -> Entry | list[str]:
    """The row, or its faults."""
    ids = step_ids(steps)
    fitting = [override for override in overrides if _target(override) in ids or "=" not in override]
    document = {"title": network.name, "steps": list(steps)}
    recipes = []
    try:
        for fold in range(folds or 1):
            cut = [] if folds is None else [f"split.folds={folds}", f"split.fold={fold}"]
            recipe = parse_recipe(document, network.name, [*fitting, *cut], network.values)
            recipes.append(_with_seed_of_the_split(recipe, seed))
    except RecipeError as error:
        return list(error.faults)
    if changed := changed_tail(recipes[0], tail):
        return [
            f"{id_}: how the rows are compared cannot be changed, lest they be compared differently" for id_ in changed
        ]
    model, weights = _built(recipes[0], network.road)
    optional = ids[len(ids) - len(tail.tables) + tail.optional] if tail.optional is not None else ""
    return Entry(network.name, model, weights, network.road, tuple(recipes), optional, len(tail.tables))


def _with_seed_of_the_split(recipe: Recipe, seed: int) -> Recipe:
    """The recipe in which the steps up to the last split have the study's seed, not the row's."""
    last = max((place for place, plan in enumerate(recipe.steps) if "splits" in plan.step.provides), default=-1)
    return recipe.with_own_seeds([seed if place <= last else None for place in range(len(recipe.steps))])


def _built(recipe: Recipe, road: str) -> tuple[str, str]:
    """The backbone, and what it starts from."""
    for plan in recipe.steps:
        if "backbone" in type(plan.config).model_fields:
            weights = str(getattr(plan.config, "weights", "none"))
            return str(plan.config.backbone), Path(weights).name  # type: ignore[attr-defined]
    return road, "none"


def _target(override: str) -> str:
    """The id of the step that an override is about."""
    return override.partition("=")[0].strip().rpartition(".")[0]


def _idle(overrides: Sequence[str], roads: Any) -> list[str]:
    """One fault for each override of a step that no road has."""
    ids = dict.fromkeys(id_ for steps in roads for id_ in step_ids(steps))
    return [
        f"--set {override}: the study has no step '{_target(override)}'. {did_you_mean(_target(override), ids)}"
        for override in overrides
        if ids and "=" in override and _target(override) not in ids
    ]
