"""Multiply-accumulates of a network, counted from its layers' shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

__all__ = ["count_macs", "layer_macs"]


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates for one photo: convolutions and dense layers, as papers count them.

    BatchNormalization folds into its convolution on the device; activations, sums and pooling multiply nothing.
    """
    return sum(layer_macs(layer) for layer in _leaves(model))


def layer_macs(layer: keras.Layer) -> int:
    """Multiply-accumulates of one layer for one photo: output positions times the weights that meet at each.

    Output shapes carry padding and stride already, so zeros of the padding count as multiplied, as on most hardware.
    """
    if isinstance(layer, keras.layers.Dense):
        return _product(layer.output.shape[1:-1]) * _product(layer.kernel.shape)
    if isinstance(layer, keras.layers.SeparableConv2D):
        return _product(layer.output.shape[1:3]) * (
            _product(layer.depthwise_kernel.shape) + _product(layer.pointwise_kernel.shape)
        )
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return _product(layer.input.shape[1:3]) * _product(layer.kernel.shape)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        # A grouped kernel is [h, w, in / groups, out]: its size is what meets at one position, whatever the groups.
        return _product(layer.output.shape[1:3]) * _product(layer.kernel.shape)
    return 0


def _product(shape: Any) -> int:
    return math.prod(int(size) for size in shape)


def _leaves(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer
