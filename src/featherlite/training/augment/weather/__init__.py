"""Weather and camera faults: some photos of a batch get one drawn kind each. One file a kind, found by its name.

A kind is a function of its file's name, `(light, strength, free) -> light`: encoded light float32 [n, h, w, 3] in 0..1,
strength [n] in 0..1 from barely seen to severe, and uniform numbers [n, 4] in [0, 1) for whatever else it draws. Only
photos that are to be changed pass through a kind, and only through their own: the cost follows the share.

Photos pass in groups of four that share a kind. Which photos of a batch are changed is drawn; how many is too, such
that the share is kept on average.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from featherlite.training.augment.color import TOP
from featherlite.training.augment.numbers import Numbers

__all__ = ["COLUMNS", "GROUP", "draw_weather", "load_kind", "under_weather"]

COLUMNS = 8
"""Uniform numbers a photo: its lot, whether it is changed, kind, strength, and four that the kind uses."""

GROUP = 4
"""Photos that pass together: fewer, larger pieces of work."""


def draw_weather(numbers: Numbers, count: Any) -> Any:
    """Uniform numbers [n, 8] in [0, 1): all that a batch's weather hangs on."""
    return numbers.random((count, COLUMNS))


def load_kind(name: str) -> Callable[[Any, Any, Any], Any]:
    """The function of that kind."""
    kind: Callable[[Any, Any, Any], Any] = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    return kind


def under_weather(photos: Any, weather: Any, share: float, kinds: Sequence[str]) -> Any:
    """The photos float32 [n, h, w, 3] in -1..127/128, of which about `share` have met one of the kinds.

    `weather` are the uniform numbers [n, 8] of `draw_weather`.
    """
    count = photos.shape[0] if photos.shape[0] is not None else ops.shape(photos)[0]
    groups, used = _groups(count, share)
    order = ops.argsort(weather[:, 0])
    slots = ops.take(order, ops.mod(ops.arange(groups * GROUP, dtype="int32"), count))
    height, width = photos.shape[1], photos.shape[2]
    passing = ops.reshape(ops.take(photos, slots, axis=0), (-1, GROUP, height, width, 3))
    numbers = ops.reshape(ops.take(weather, slots, axis=0), (-1, GROUP, COLUMNS))
    changed = ops.reshape(_each_group(passing, numbers, kinds), (-1, height, width, 3))
    rank = ops.cast(ops.argsort(order), "int32")
    chosen = ops.logical_and(rank < groups * GROUP, weather[:, 1] < used)
    source = ops.where(chosen, rank, groups * GROUP + ops.arange(count, dtype="int32"))
    return ops.take(ops.concatenate([changed, photos], axis=0), source, axis=0)


def _groups(count: Any, share: float) -> tuple[Any, Any]:
    """How many groups pass, and the share of their photos that is changed: together `share` of all photos."""
    if isinstance(count, int):
        groups = max(1, math.ceil(count * share / GROUP - 1e-4))
        return groups, count * share / min(groups * GROUP, count)
    total = ops.cast(count, "float32")
    wanted = total * share
    number = ops.maximum(ops.ceil(wanted / GROUP - 1e-4), 1.0)
    return ops.cast(number, "int32"), wanted / ops.minimum(number * GROUP, total)


def _each_group(passing: Any, numbers: Any, kinds: Sequence[str]) -> Any:
    """Groups of photos [m, 4, h, w, 3], each after the kind that the first of its numbers [m, 4, 8] draw."""
    branches = [_in_light(load_kind(name)) for name in kinds]

    def one(group: tuple[Any, Any]) -> Any:
        photos, drawn = group
        if len(branches) == 1:
            return branches[0](photos, drawn)
        kind = ops.cast(ops.minimum(drawn[0, 2] * len(branches), len(branches) - 1.0), "int32")
        return ops.switch(kind, branches, photos, drawn)

    return ops.map(one, (passing, numbers))


def _in_light(kind: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def changed(photos: Any, drawn: Any) -> Any:
        light = kind((photos + 1.0) * (1.0 / (TOP + 1.0)), drawn[:, 3], drawn[:, 4:])
        return ops.clip(light, 0.0, 1.0) * (TOP + 1.0) - 1.0

    return changed
