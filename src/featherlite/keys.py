"""Under which key a step's result is stored: what it depends on, hashed, and known before anything has run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from featherlite.bundle import sha256_of
from featherlite.code_version import code_of
from featherlite.recipe import PlannedStep, Recipe
from featherlite.step import Progress, Silent, Step

__all__ = ["cache_folder", "photos_key", "recipe_keys", "seed_of", "step_key"]


def cache_folder() -> Path:
    """Where decoded photos are kept between runs: $FEATHERLITE_CACHE, else the user's cache folder."""
    named = os.environ.get("FEATHERLITE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "featherlite"


def photos_key(data: Path, cache: Path, progress: Progress | None = None) -> str:
    """Hash of all that the first step sees: the photos, and the files that cannot be used, which it must tell of.

    Raises:
        FeatherliteError: the photos cannot be used.
    """
    from featherlite.data.sample import is_drawn
    from featherlite.data.source import refuse_too_few, scan

    found = scan(data.absolute(), progress or Silent(), cache, strict=False)
    refuse_too_few(found.root, set(found.classes), found.faults)
    faults = [[fault.path, fault.reason] for fault in found.faults]
    seen = [found.digest, found.layout, faults, is_drawn(data.absolute())]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def recipe_keys(recipe: Recipe, photos: str) -> tuple[str, ...]:
    """The keys under which the results of the recipe's steps are stored, known before anything has run."""
    keys: dict[str, str] = {}
    parent = photos
    for plan in recipe.steps:
        parent = keys[plan.id] = step_key(parent, plan, seed_of(plan, recipe.seed), keys)
    return tuple(keys.values())


def seed_of(plan: PlannedStep, seed: int) -> int:
    """The step's own seed, else the run's."""
    return seed if plan.seed is None else plan.seed


def step_key(parent: str, plan: PlannedStep, seed: int, earlier: Mapping[str, str] | None = None) -> str:
    """Hash of (parent, step, config, all else that the config names, seed, the code that the step reaches).

    `earlier` holds the keys of the recipe's steps before this one, by id.
    """
    read = [sha256_of(path) if path.is_file() else "" for path in plan.config.files()]
    read += [_photos_digest(path) for path in plan.config.folders()]
    read += [_labelled_digest(path) for path in plan.config.labelled()]
    read += [(earlier or {})[id_] for id_ in plan.config.earlier()]
    parts = [parent, plan.step.name, plan.config.model_dump(mode="json"), read, seed, _code(plan.step)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _code(step: Step) -> str:
    """The code that the step's stored result depends on: its own, and that which measured it."""
    return code_of(step.function.__module__, "featherlite.evaluate.measure")


def _photos_digest(folder: Path) -> str:
    """Hash of the photos under a folder that a step reads beside the run's own."""
    from featherlite.data.unlabelled import scan_unlabelled

    return scan_unlabelled(folder, cache=cache_folder()).digest


def _labelled_digest(place: Path) -> str:
    """Hash of the photos in another place than the run's own, with their labels, splits and groups."""
    from featherlite.data.source import scan

    return scan(place.absolute(), cache=cache_folder(), strict=False).digest
