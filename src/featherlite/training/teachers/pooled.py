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
    # Its own calls: a layer may stand in other graphs too, and `layer.output` would be that of the first one.
    calls = {node.operation.name: node for level in network._nodes_by_depth.values() for node in level}
    pool = calls[POOL].output_tensors[0] if POOL in calls else None
    if pool is not None and len(pool.shape) == 2:
        return pool
    learners = [one for one in network.layers if one.weights and len(calls[one.name].input_tensors) == 1]
    vectors = [layer for layer in learners if len(calls[layer.name].input_tensors[0].shape) == 2]
    heads = [layer for layer in vectors if layer.name.startswith(HEAD)]
    chosen = (heads[:1] or vectors[-1:] or learners[-1:])[0]
    (tensor,) = calls[chosen.name].input_tensors
    while isinstance(tensor._keras_history.operation, keras.layers.Dropout):
        (tensor,) = calls[tensor._keras_history.operation.name].input_tensors
    if len(tensor.shape) == 4:
        return keras.layers.GlobalAveragePooling2D(name="guide_pool")(tensor)
    return tensor
