"""Neighboring layers with their channels scaled against each other, so that one scale suits all channels of a kernel.

A ReLU lets a positive factor through. So a channel may leave one layer divided by s and be multiplied by s in the
kernel of the next: the network computes the same, while the weights of both fill their range better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.fusing import activation_name
from featherlite.models.surgery.rebuild import edges
from featherlite.preprocess import network_input

__all__ = ["Pair", "equalize", "pairs"]

ROUNDS: Final = 20
"""Each pair is balanced in turn, this often at most: a layer between two others belongs to two pairs."""
ENOUGH: Final = 1e-3
"""Factors closer to one than this end the rounds."""
CLIP: Final = 6.0

Floats = NDArray[np.float64]

_LINEAR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
_PASSING = (
    keras.layers.ReLU,
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.ZeroPadding2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.GlobalAveragePooling2D,
)


@dataclass(frozen=True)
class Pair:
    """Two layers with kernels, with nothing between them that a positive factor of a channel does not pass."""

    first: str
    second: str
    end: str
    """the layer at which the first one's channels have their final values: itself, or the ReLU behind it"""
    clipped: bool
    """whether a ReLU6 stands between: its six does not scale with the channel"""


def pairs(network: keras.Model) -> tuple[Pair, ...]:
    """The pairs that can be balanced, in the order of the graph."""
    behind: dict[str, list[Any]] = {}
    for source, target in edges(network):
        behind.setdefault(source.name, []).append(target)
    found = (_pair(layer, behind) for layer in network.layers if isinstance(layer, _LINEAR))
    return tuple(pair for pair in found if pair is not None)


def equalize(network: keras.Model, photos: NDArray[np.uint8]) -> int:
    """Balances all pairs of a network without BatchNorm in place; how many there are.

    `photos` is uint8 [n, height, width, 3]. A channel's factor s = sqrt(r1 / r2) of the largest weights on either side
    is held back where the layer's activations would reach further than before; a channel that reaches the six of a
    ReLU6 on some photo stays as it is. So on these photos the network answers as before, but rounding.

    Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through Weight Equalization and
    Bias Correction" (arXiv:1906.04721), section 4.1, equation 11; there ReLU6 is replaced by ReLU instead.
    """
    found = pairs(network)
    reached = dict(zip(found, _largest(network, found, photos), strict=True)) if found else {}
    for _ in range(ROUNDS):
        farthest = 0.0
        for pair in found:
            factors = _factors(network, pair, reached[pair])
            _apply(network, pair, factors)
            reached[pair] = reached[pair] / factors
            farthest = max(farthest, float(np.abs(np.log(factors)).max()))
        if farthest < ENOUGH:
            break
    return len(found)


def _pair(layer: Any, behind: dict[str, list[Any]]) -> Pair | None:
    kinds = {_clamp(layer)}
    end, current = layer, layer
    while True:
        consumers = behind.get(current.name, [])
        if None in kinds or len(consumers) != 1:
            return None
        following = consumers[0]
        if isinstance(following, _LINEAR):
            break
        if not isinstance(following, _PASSING):
            return None
        clamp = _clamp(following)
        kinds.add(clamp)
        if clamp != "linear":
            end = following
        current = following
    if isinstance(layer, keras.layers.DepthwiseConv2D) and layer.depth_multiplier != 1:
        return None
    if isinstance(following, keras.layers.DepthwiseConv2D) and following.depth_multiplier != 1:
        return None
    if getattr(following, "groups", 1) != 1 or layer.output.shape[-1] != following.input.shape[-1]:
        return None
    return Pair(layer.name, following.name, end.name, "relu6" in kinds)


def _clamp(layer: Any) -> str | None:
    """'linear', 'relu' or 'relu6'; None for what does not let a positive factor through."""
    if isinstance(layer, keras.layers.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return {None: "relu", CLIP: "relu6"}.get(layer.max_value) if plain else None
    name = activation_name(layer)
    return name if name in ("linear", "relu", "relu6") else None


def _largest(network: keras.Model, found: Sequence[Pair], photos: NDArray[np.uint8]) -> list[Floats]:
    """The largest magnitude of each channel, float64 [channels], behind the first layer of each pair."""
    outputs = [network.get_layer(pair.end).output for pair in found]
    tops = [keras.ops.max(keras.ops.abs(one), axis=tuple(range(len(one.shape) - 1))) for one in outputs]
    taps, batch = keras.Model(network.inputs[0], tops), 8
    largest = [np.zeros(one.shape[-1]) for one in outputs]
    for start in range(0, len(photos), batch):
        some = photos[start : start + batch]
        some = np.concatenate([some, np.repeat(some[-1:], batch - len(some), axis=0)])
        seen = taps.predict_on_batch(network_input(some))
        for place, one in enumerate(seen if isinstance(seen, list) else [seen]):
            largest[place] = np.maximum(largest[place], np.asarray(one, dtype=np.float64))
    return largest


def _factors(network: keras.Model, pair: Pair, reached: Floats) -> Floats:
    """What each channel is divided by in the first layer and multiplied by in the second, float64 [channels]."""
    first, second = network.get_layer(pair.first), network.get_layer(pair.second)
    ours = _per_output(np.abs(np.asarray(first.kernel, dtype=np.float64)), first)
    theirs = _per_input(np.abs(np.asarray(second.kernel, dtype=np.float64)), second)
    alive = (ours > 0) & (theirs > 0)
    wanted = np.sqrt(np.where(alive, ours, 1.0) / np.where(alive, theirs, 1.0))
    factors = np.maximum(wanted, reached / max(float(reached.max()), 1e-12))
    frozen = ~alive | (pair.clipped & (reached >= CLIP * (1 - 1e-6)))
    return np.where(frozen, 1.0, factors)


def _per_output(sizes: Floats, layer: Any) -> Floats:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return np.asarray(sizes.max(axis=(0, 1, 3)))
    return np.asarray(sizes.reshape(-1, sizes.shape[-1]).max(axis=0))


def _per_input(sizes: Floats, layer: Any) -> Floats:
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return np.asarray(sizes.max(axis=(0, 1, 3)))
    return np.asarray(np.moveaxis(sizes, -2, 0).reshape(sizes.shape[-2], -1).max(axis=1))


def _apply(network: keras.Model, pair: Pair, factors: Floats) -> None:
    first, second = network.get_layer(pair.first), network.get_layer(pair.second)
    own = factors[:, None] if isinstance(first, keras.layers.DepthwiseConv2D) else factors
    first.kernel.assign(np.asarray(first.kernel, dtype=np.float64) / own)
    if first.use_bias:
        first.bias.assign(np.asarray(first.bias, dtype=np.float64) / factors)
    second.kernel.assign(np.asarray(second.kernel, dtype=np.float64) * factors[:, None])
