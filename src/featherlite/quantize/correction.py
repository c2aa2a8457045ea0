"""A network whose kernels lie on the int8 grid already, corrected for what the rounding shifted.

Rounding a kernel to 8 bits moves the mean (and a little the spread) of what its convolution puts out, and in networks
with few channels those shifts add up from layer to layer: on a MobileNetV1 0.25 they were most of all that int8 cost.
BatchNorm is there to say what mean and spread to expect, so the correction is to tell it the new ones.

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight Equalization and
Bias Correction" (arXiv:1906.04721), section 4.2, in its empirical form (appendix D); the spread is added here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.preprocess import network_input
from featherlite.quantize.scheme import Kernels

__all__ = ["correct", "rounded"]

LEVELS = 127
"""LiteRT quantizes kernels symmetrically, to -127 .. 127."""
PHOTOS = 128
"""Photos that the shifts are measured on, at most. Both networks see the same ones, so few are enough."""
SPREAD = (0.8, 1.25)
"""Bounds on the correction of a variance: beyond them the channel is dead, and its ratio is noise."""

Moments = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def correct(
    network: keras.Model,
    photos: NDArray[np.uint8],
    advance: Callable[[], None] | None = None,
    kernels: Kernels = "channel",
) -> int:
    """Rounds the convolutions' kernels in place and corrects what follows each; how many were corrected.

    `photos` is uint8 [n, height, width, 3]. Layers are taken in their order, so that each is corrected for what all
    before it leave uncorrected. A convolution followed by nothing but BatchNorm has its moving mean and variance moved;
    one with a bias has that moved. `advance` is called after each layer. `kernels` says what shares a scale; where all
    of a kernel does, BatchNorm has to be folded already, since its factors would take the channels off that grid.
    """
    layers = [layer for layer in network.layers if _axes(layer) is not None]
    norms = [_norm_behind(layer) for layer in layers]  # before the taps below add consumers of their own
    moments = _moments_of(network, layers, photos[:PHOTOS])
    wanted, corrected = moments(), 0
    for place, (layer, norm) in enumerate(zip(layers, norms, strict=True)):
        axes = (_axes(layer) or ()) if kernels == "channel" else None
        layer.kernel.assign(rounded(np.asarray(layer.kernel), axes))
        (mean, variance), (mean_now, variance_now) = wanted[place], moments()[place]
        if norm is not None:
            norm.moving_mean.assign(np.asarray(norm.moving_mean) + (mean_now - mean))
            ratio = np.clip(variance_now / np.maximum(variance, 1e-12), *SPREAD)
            norm.moving_variance.assign(np.asarray(norm.moving_variance) * ratio)
        elif layer.use_bias:
            layer.bias.assign(np.asarray(layer.bias) - (mean_now - mean))
        corrected += norm is not None or layer.use_bias
        if advance is not None:
            advance()
    return corrected


def rounded(kernel: NDArray[np.float32], axes: tuple[int, ...] | None) -> NDArray[np.float32]:
    """The kernel on LiteRT's grid: each output channel (what `axes` leaves) in 127 steps either way of its largest.

    None for all axes, which puts the whole kernel on one grid.

    A later factor on the channel, such as a folded BatchNorm, leaves it on the grid.
    """
    step = np.abs(kernel).max(axis=axes, keepdims=True) / LEVELS
    step[step == 0] = 1
    return np.asarray(np.rint(kernel / step) * step, dtype=np.float32)


def _axes(layer: Any) -> tuple[int, ...] | None:
    """The axes of the kernel that one output channel spans; None for what is no convolution of ours to round."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return (0, 1)
    return (0, 1, 2) if type(layer) is keras.layers.Conv2D else None


def _norm_behind(layer: Any) -> keras.layers.BatchNormalization | None:
    """The BatchNorm that alone takes the layer's output."""
    behind = [node.operation for node in layer._outbound_nodes]
    alone = len(behind) == 1 and isinstance(behind[0], keras.layers.BatchNormalization)
    return behind[0] if alone else None


def _moments_of(network: keras.Model, layers: list[Any], photos: NDArray[np.uint8]) -> Callable[[], Moments]:
    """What measures mean and variance, float64 [channels], of each layer's output under the weights of the moment."""
    outputs = []
    for layer in layers:
        outputs.append(keras.ops.mean(layer.output, axis=(1, 2)))
        outputs.append(keras.ops.mean(keras.ops.square(layer.output), axis=(1, 2)))
    taps = keras.Model(network.inputs[0], outputs)
    inputs = network_input(photos)

    def measure() -> Moments:
        found = taps.predict(inputs, batch_size=32, verbose=0)
        means = [np.asarray(one, dtype=np.float64).mean(axis=0) for one in found]
        return [(mean, square - mean**2) for mean, square in zip(means[::2], means[1::2], strict=True)]

    return measure
