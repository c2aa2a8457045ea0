"""The pooled features of a network: what its head reads."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["pooled_features"]

HEAD, POOL = "head_", "head_pool"


def pooled_features(network: keras.Model) -> Any:
    """The tensor [n, d] that comes out of the pooling, before any dropout; one of the graph's own.

    Where no layer of the head is called `head_pool`, it is what the first dense layer of the head reads; where no head
    can be told from the rest, what the last layer with weights reads, averaged over the map.
    """
    pool = next((layer.output for layer in network.layers if layer.name == POOL), None)
    if pool is not None and len(getattr(pool, "shape", ())) == 2:
        return pool
    learners = [layer for layer in network.layers if layer.weights and _single(layer) is not None]
    vectors = [layer for layer in learners if len(_single(layer).shape) == 2]
    heads = [layer for layer in vectors if layer.name.startswith(HEAD)]
    chosen = (heads[:1] or vectors[-1:] or learners[-1:])[0]
    tensor = _single(chosen)
    while (maker := _maker(network, tensor)) is not None and isinstance(maker, keras.layers.Dropout):
        tensor = _single(maker)
    if len(tensor.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name="guide_pool")(tensor)
    return tensor


def _single(layer: keras.layers.Layer) -> Any:
    """The layer's input where it is one tensor, else None."""
    tensor = layer.input
    return None if isinstance(tensor, (list, tuple, dict)) else tensor


def _maker(network: keras.Model, tensor: Any) -> keras.layers.Layer | None:
    return next((layer for layer in network.layers if layer.output is tensor), None)
