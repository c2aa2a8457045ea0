"""The parts of a study's document, checked one by one: seeds, folds, weights, roads and networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from featherlite.comparison import Weigh
from featherlite.errors import did_you_mean
from featherlite.recipe import config_faults
from featherlite.step import MAX_SEED
from featherlite.study.faults import name_fault

__all__ = ["Network", "folds_of", "networks_of", "roads_of", "seeds_of", "tables_of", "weigh_of"]

NETWORK_KEYS = ("name", "road", "set")
MAX_FOLDS = 100


@dataclass(frozen=True)
class Network:
    """An entry of [[networks]]; `values` are by step.key."""

    name: str
    road: str
    values: dict[str, Any]


def seeds_of(found: Any, key: str, faults: list[str]) -> list[int]:
    """The seeds in a list; [0] beside a fault."""
    if not isinstance(found, list) or not found:
        faults.append(f"{key}: {found!r} is not a list of seeds such as [0, 1, 2]")
        return [0]
    for seed in found:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
            faults.append(f"{key}: {seed!r} is not a whole number from 0 to {MAX_SEED}")
            return [0]
    if len(set(found)) != len(found):
        faults.append(f"{key}: each once, got {', '.join(str(seed) for seed in found)}")
    return found


def folds_of(found: Any, faults: list[str]) -> int | None:
    """How many folds; None for none, or beside a fault."""
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 2 <= found <= MAX_FOLDS:
        faults.append(f"folds: {found!r} is not a whole number from 2 to {MAX_FOLDS}")
        return None
    return found


def weigh_of(found: Any, given: Mapping[str, float], faults: list[str]) -> Weigh:
    """The weights of the recommendation, those given before those in the document; the usual ones beside a fault."""
    if not isinstance(found, dict):
        faults.append(f"weigh: {found!r} is not a table such as {{ accuracy = 1.0, size = 0.2, time = 0.2 }}")
        return Weigh()
    try:
        return Weigh.model_validate(found | dict(given))
    except ValidationError as error:
        faults += config_faults(error, Weigh, "weigh")
        return Weigh()


def tables_of(found: Any, where: str, faults: list[str]) -> list[dict[str, Any]]:
    """The step tables of the shared steps or of a road; what is wrong within them, the recipe's reader tells."""
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        faults.append(f"{where}: steps are [[{where}]] tables")
        return []
    return list(found)


def roads_of(found: Any, faults: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The roads by name."""
    if not isinstance(found, dict) or not found:
        faults.append("there is no road: a study needs [[road.NAME]] tables with the steps after the shared ones")
        return {}
    return {str(road): tables_of(tables, f"road.{road}", faults) for road, tables in found.items()}


def networks_of(found: Any, roads: Mapping[str, Any], faults: list[str]) -> list[Network]:
    """The networks that have a road; one with another fault is called by its place, so that its steps are looked at."""
    if not isinstance(found, list) or not found or not all(isinstance(table, dict) for table in found):
        faults.append("there are no [[networks]]")
        return []
    networks: list[Network] = []
    taken: list[str] = []
    for position, table in enumerate(found, start=1):
        name = table.get("name")
        where = f"network '{name}'" if isinstance(name, str) and name else f"network {position}"
        wrong = [f"unknown key '{key}'. {did_you_mean(key, NETWORK_KEYS)}" for key in table if key not in NETWORK_KEYS]
        wrong += name_fault(name, taken)
        road = table.get("road", next(iter(roads)) if len(roads) == 1 else None)
        if road is None and roads:
            wrong.append(f"a key 'road' is needed. {did_you_mean('', roads)}")
        elif roads and road not in roads:
            wrong.append(f"there is no road '{road}'. {did_you_mean(str(road), roads)}")
        values = table.get("set", {})
        if not isinstance(values, dict):
            wrong.append(f"set: {values!r} is not a table such as {{ 'build.backbone' = 'ResNet18' }}")
        faults += [f"{where}: {fault}" for fault in wrong]
        taken += [name] if isinstance(name, str) else []
        if road in roads and isinstance(values, dict):
            networks.append(Network(f"network {position}" if wrong else str(name), road, _dotted(values)))
    return networks


def _dotted(values: Mapping[str, Any]) -> dict[str, Any]:
    """`set` by 'step.key', whether the TOML quoted the dotted key or not."""
    made: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and "." not in key:
            made |= {f"{key}.{inner}": content for inner, content in value.items()}
        else:
            made[key] = value
    return made
