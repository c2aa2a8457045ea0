"""Heads by name: what turns a feature map into logits. Attention over the map, pooling, then the head itself.

Each file here is a head: one function of the file's name, pooled features [n, channels] and the number of classes ->
logits [n, classes]. Adding a head is adding a file. Pooling and attention stand in `models.pooling` and
`models.attention`. The keyword arguments of all three are the settings that they obey, fields of `HeadOrder`; every
layer that they add is named `head_...`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import MappingProxyType
from typing import Any

from featherlite.errors import RequestError, did_you_mean
from featherlite.models.attention import ATTENTIONS
from featherlite.models.pooling import POOLS, WITHOUT_TFLM

__all__ = ["HeadOrder", "build_head", "check_head", "heads", "settings_of", "without_tflm"]

Part = Callable[..., Any]


@dataclass(frozen=True)
class HeadOrder:
    """What a head is asked to be: the names of its three parts, and their settings."""

    head: str = "plain"
    pool: str = "average"
    attention: str = "none"
    dropout: float = 0.2
    head_units: tuple[int, ...] = (512,)
    head_dropout: float = 0.4
    attention_filters: int = 512
    gem_p: float = 3.0
    cosine_scale: float = 16.0


PARTS = ("attention", "pool", "head")


@cache
def heads() -> Mapping[str, Part]:
    """Every head's function by name. Imports no Keras."""
    found: dict[str, Part] = {}
    for info in pkgutil.iter_modules(__path__):
        function = getattr(importlib.import_module(f"{__name__}.{info.name}"), info.name, None)
        if not inspect.isfunction(function):
            raise TypeError(f"models/heads/{info.name}.py must define a function '{info.name}'")
        found[info.name] = function
    return MappingProxyType(dict(sorted(found.items())))


def build_head(features: Any, classes: int, order: HeadOrder | None = None) -> Any:
    """Logits, float32 [n, classes], of a feature map [n, h, w, channels]: symbolic tensors of Keras.

    Raises:
        RequestError: `check_head` refuses the order.
    """
    order = order or HeadOrder()
    check_head(order)
    x = features
    for part, function in _chosen(order).items():
        settings = {key: getattr(order, key) for key in _keywords(function)}
        x = function(x, classes, **settings) if part == "head" else function(x, **settings)
    return x


def check_head(order: HeadOrder) -> None:
    """Refuses what cannot be built, and settings that would do nothing, before anything is built.

    Raises:
        RequestError: an unknown part (the nearest name is suggested), or a changed setting of a part that was not
            chosen.
    """
    used = {key for function in _chosen(order).values() for key in _keywords(function)}
    for field in fields(order):
        if field.name in PARTS or field.name in used or getattr(order, field.name) == field.default:
            continue
        part, owners = _owners(field.name)
        names = " or ".join(f"'{name}'" for name in owners)
        raise RequestError(
            f"{field.name} is a setting of {part} {names} and does nothing with {part} '{getattr(order, part)}'.",
            f"Set {part} to {names}, or leave {field.name} out.",
        )
    if "head_units" in used and not order.head_units:
        raise RequestError(
            "head_units is empty: a dense head has at least one layer.", "Give a width, or set head to 'plain'."
        )


def settings_of(order: HeadOrder) -> dict[str, Any]:
    """The order as JSON: its parts, and the settings that they obey."""
    used = {key for function in _chosen(order).values() for key in _keywords(function)}
    facts = {key: value for key, value in asdict(order).items() if key in PARTS or key in used}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}


def without_tflm(order: HeadOrder) -> tuple[str, ...]:
    """The operations of this head that TensorFlow Lite Micro has no int8 kernel for; LiteRT has them all."""
    return WITHOUT_TFLM.get(order.pool, ())


def _registries() -> dict[str, Mapping[str, Part]]:
    return dict(zip(PARTS, (ATTENTIONS, POOLS, heads()), strict=True))


def _chosen(order: HeadOrder) -> dict[str, Part]:
    """The function of each part, in the order in which they are applied."""
    chosen = {}
    for part, registry in _registries().items():
        name = getattr(order, part)
        if name not in registry:
            what = "pooling" if part == "pool" else part
            raise RequestError(f"There is no {what} '{name}'.", did_you_mean(name, registry))
        chosen[part] = registry[name]
    return chosen


def _keywords(function: Part) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)


def _owners(key: str) -> tuple[str, list[str]]:
    """The kind of part that has this setting, and the names of those that do."""
    owners = {
        part: [name for name, function in registry.items() if key in _keywords(function)]
        for part, registry in _registries().items()
    }
    return next((part, names) for part, names in owners.items() if names)
