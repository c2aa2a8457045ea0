"""A network whose kernels lie on the int8 grid already, corrected for what the rounding shifted.

Rounding a kernel to 8 bits moves the mean (and a little the spread) of what its convolution puts out, and in networks
with few channels those shifts add up from layer to layer: on a MobileNetV1 0.25 they were most of all that int8 cost.
BatchNorm is there to say what mean and spread to expect, so the correction is to tell it the new ones.

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight Equalization and
Bias Correction" (arXiv:1906.04721), section 4.2, in its empirical form (appendix D); the spread is added here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.stepwise import stepwise
from featherlite.preprocess import network_input
from featherlite.quantize.representative import evenly
from featherlite.quantize.scheme import Kernels

__all__ = ["correct", "rounded"]

LEVELS = 127
"""LiteRT quantizes kernels symmetrically, to -127 .. 127."""
PHOTOS = 128
"""Photos that the shifts are measured on, at most. Both networks see the same ones, so few are enough."""
SPREAD = (0.8, 1.25)
"""Bounds on the correction of a variance: beyond them the channel is dead, and its ratio is noise."""

HELD_BYTES = 2**29
"""What the largest feature map of those photos may take: two or three of that size are in memory at a time."""

Moments = tuple[NDArray[np.float64], NDArray[np.float64]]


def correct(
    network: keras.Model,
    photos: NDArray[np.uint8],
    advance: Callable[[], None] | None = None,
    kernels: Kernels = "channel",
    least: int = 0,
) -> int:
    """Rounds the convolutions' kernels in place and corrects what follows each; how many were corrected.

    `photos` is uint8 [n, height, width, 3]; of all of them so many are used as memory allows. Layers are taken in their
    order, so that each is corrected for what all before it leave uncorrected. A convolution followed by nothing but
    BatchNorm has its moving mean and variance moved; one with a bias has that moved, by the shift of the sums before
    its own activation, since that is where a bias is added. `advance` is called after each layer. `kernels` says what
    shares a scale; where all of a kernel does, BatchNorm has to be folded already, since its factors would take the
    channels off that grid. Kernels of fewer than `least` weights stay as they are.
    """
    inputs = network_input(evenly(photos, _photos_for(network)))
    wanted: dict[str, Moments] = {}

    def measure(operation: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if _axes(operation) is None or np.prod(operation.kernel.shape) < least:
            return operation(*given, **options)
        seen, made = _seen(operation, given, options)
        wanted[operation.name] = _moments(seen)
        return made

    stepwise(network, inputs, measure)
    corrected: list[bool] = []

    def mend(operation: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        axes = _axes(operation)
        if axes is None or operation.name not in wanted:
            return operation(*given, **options)
        operation.kernel.assign(rounded(np.asarray(operation.kernel), axes if kernels == "channel" else None))
        seen, made = _seen(operation, given, options)
        corrected.append(_moved(operation, wanted.pop(operation.name), _moments(seen)))
        if advance is not None:
            advance()
        return operation(*given, **options) if operation.use_bias else made

    stepwise(network, inputs, mend)
    return sum(corrected)


def _seen(layer: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a shift is measured on, and the output: the same, but for a bias that is added before an activation."""
    if _norm_behind(layer) is not None or layer.activation is keras.activations.linear:
        made = layer(*given, **options)
        return made, made
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        sums = layer(*given, **options)
    finally:
        layer.activation = activation
    return sums, activation(sums)


def _moved(layer: Any, wanted: Moments, found: Moments) -> bool:
    """Tells what follows the layer, or its own bias, of the shift in its output; whether there was either."""
    (mean, variance), (mean_now, variance_now) = wanted, found
    norm = _norm_behind(layer)
    if norm is not None:
        norm.moving_mean.assign(np.asarray(norm.moving_mean) + (mean_now - mean))
        ratio = np.clip(variance_now / np.maximum(variance, 1e-12), *SPREAD)
        norm.moving_variance.assign(np.asarray(norm.moving_variance) * ratio)
    elif layer.use_bias:
        layer.bias.assign(np.asarray(layer.bias) - (mean_now - mean))
    return norm is not None or layer.use_bias


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


def _photos_for(network: keras.Model) -> int:
    """How many photos fit into memory, PHOTOS at most."""
    shapes = [tensor.shape[1:] for operation in network.operations for tensor in keras.tree.flatten(operation.output)]
    return max(1, min(PHOTOS, HELD_BYTES // (4 * max(int(np.prod(shape)) for shape in shapes))))


def _moments(made: Any) -> Moments:
    """Mean and variance, float64 [channels], of a feature map [n, height, width, channels]."""
    mean = keras.ops.mean(made, axis=(1, 2))
    square = keras.ops.mean(keras.ops.square(made), axis=(1, 2))
    mean, square = (np.asarray(one, dtype=np.float64).mean(axis=0) for one in (mean, square))
    return mean, square - mean**2
