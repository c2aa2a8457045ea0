"""Heads by name: what turns a feature map into logits. Every layer of a head is named `head_...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featherlite.errors import RequestError, did_you_mean

__all__ = ["HEADS", "head_of", "plain"]

Head = Callable[[Any, int, float], Any]
"""Feature map [n, h, w, channels], classes, dropout -> logits [n, classes], all float32."""


def plain(features: Any, classes: int, dropout: float) -> Any:
    """Logits, float32 [n, classes], of a feature map: average over the map, dropout, one dense layer."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="head_pool")(features)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    return layers.Dense(classes, name="head_logits")(x)


HEADS: Mapping[str, Head] = MappingProxyType({"plain": plain})


def head_of(name: str) -> Head:
    """The head of that name.

    Raises:
        RequestError: there is none; the nearest known name is suggested.
    """
    if name not in HEADS:
        raise RequestError(f"There is no head '{name}'.", did_you_mean(name, HEADS))
    return HEADS[name]
