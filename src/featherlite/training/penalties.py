"""What the loss asks of the kernels themselves, beside the answers: to be small, or to lie where int8 can hold them.

A kernel that already lies on the levels of its integer grid loses nothing when it is rounded. LiteRT's grid has a level
at every multiple of delta = max|w| / 127, in each output channel of a convolution and in all of a dense kernel.
Absolute-cosine regularization adds a term that is 0 on these levels and 1 half-way between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from featherlite.training.config import FitConfig
from featherlite.training.guide import LOGITS
from featherlite.training.optimizers import is_kernel

__all__ = ["COSINES", "Penalty", "absolute_cosine", "article_cosine", "levelled", "penalized", "penalizes"]

Kernels = list[tuple[Any, tuple[int, ...]]]
"""Kernels, each with the axes that share a scale."""


def levelled(network: keras.Model) -> Kernels:
    """The trainable kernels that an artefact holds as integers, in the network's order.

    But for those of dense layers with a BatchNorm behind them: folded, it scales their outputs against each other, so
    that only then there is a grid for all.
    """
    found: Kernels = []
    for layer in network.layers:
        if not layer.trainable:
            continue
        if callable(getattr(layer, "axes", None)):  # it rounds its kernel itself, in training for int8
            found.append((layer.kernel, layer.axes()))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            found.append((layer.kernel, (0, 1)))
        elif isinstance(layer, keras.layers.Conv2D):
            found.append((layer.kernel, (0, 1, 2)))
        elif isinstance(layer, keras.layers.Dense) and not _is_normed(layer):
            found.append((layer.kernel, (0, 1)))
    return found


def _is_normed(layer: Any) -> bool:
    return any(isinstance(node.operation, keras.layers.BatchNormalization) for node in layer._outbound_nodes)


def absolute_cosine(kernels: Kernels, bits: int) -> Any:
    """How far the kernels lie from the levels of their grid: the mean over all weights w of |cos(pi w / d - pi / 2)|.

    The cosine itself is largest at w = 0, which is a level here; the quarter turn pi / 2 brings its zeros to the
    levels k d, so that the term is |sin(pi w / d)|: 0 on a level, 1 half-way between two, 2 / pi where weights lie
    anyhow. What shares a scale has its own d = max|w| / (2^(bits - 1) - 1), which counts as a constant in the gradient:
    otherwise the largest weight, which is a level whatever its value, would move the grid under the others. A BatchNorm
    that is folded later multiplies a convolution's channel, and its levels with it.

    Source: H. D. Nguyen, A. Alexandridis, A. Mouchtaris, "Quantization Aware Training with Absolute-Cosine
    Regularization for Automatic Speech Recognition" (Interspeech 2020), for the idea: an absolute cosine of the weights
    whose zeros are the quantization levels. Phase, scale of each channel and mean (instead of a sum, so that the weight
    means the same for networks of any size) are stated here as this function computes them, for LiteRT's int8.
    """
    total, count = 0.0, 0
    for kernel, axes in kernels:
        weights = ops.convert_to_tensor(kernel)
        largest = ops.stop_gradient(ops.max(ops.abs(weights), axis=axes, keepdims=True))
        step = ops.where(largest > 0, largest, ops.ones_like(largest)) / (2 ** (bits - 1) - 1)
        places = weights / step
        # The term repeats from level to level: the distance to the nearest keeps all of its digits.
        off = places - ops.stop_gradient(ops.round(places))
        total = total + ops.sum(ops.abs(ops.sin(np.pi * off)))
        count += int(np.prod(weights.shape))
    return total / max(count, 1)


def article_cosine(kernels: Kernels, bits: int) -> Any:  # noqa: ARG001 - the signature of a cosine
    """What a listing under the same name computes: for each kernel the mean of |sum over c of w[c] w[c - 1]|.

    c runs along the kernel's last axis (the output channels; of a depthwise kernel its one multiplier) and around its
    end. There is neither a cosine in it nor a level: it is a product of neighboring weights, smallest where neighbors
    are zero, of opposite signs or orthogonal over the channels. A depthwise kernel, whose channels have no neighbor
    there, pays its mean square: an l2. It is offered so that both can be compared. Kernels are summed, as regularizers
    of single layers are.

    Source: the regularizer "ACosR" in an article on bird detection for TinyML (cranberrygrape.com), whose author says
    that a chatbot translated it from the paper.
    """
    total: Any = 0.0
    for kernel, _ in kernels:
        weights = ops.convert_to_tensor(kernel)
        products = ops.sum(weights * ops.roll(weights, shift=1, axis=-1), axis=-1)
        total = total + ops.mean(ops.abs(products))
    return total


COSINES: Mapping[str, Callable[[Kernels, int], Any]] = MappingProxyType(
    {"absolute": absolute_cosine, "article": article_cosine}
)


class Penalty(keras.layers.Layer):  # type: ignore[misc]
    """What goes in; adds what the config asks of the network's trainable kernels to the loss."""

    def __init__(self, network: keras.Model, config: FitConfig) -> None:
        super().__init__(dtype="float32", name="penalty")
        self.network, self.config = network, config

    def call(self, logits: Any) -> Any:
        """The logits, unchanged."""
        config = self.config
        if config.l2:
            kernels = [one for one in self.network.trainable_variables if is_kernel(one)]
            self.add_loss(config.l2 * sum(ops.sum(ops.square(ops.convert_to_tensor(kernel))) for kernel in kernels))
        if config.cosine != "none":
            term = COSINES[config.cosine](levelled(self.network), config.cosine_bits)
            self.add_loss(config.cosine_weight * term)
        return logits

    def compute_output_spec(self, logits: Any) -> Any:
        """What goes in."""
        return keras.KerasTensor(logits.shape, dtype=logits.dtype)


def penalizes(config: FitConfig) -> bool:
    """Whether the config asks anything of the kernels."""
    return config.l2 > 0 or config.cosine != "none"


def penalized(answer: Any, network: keras.Model, config: FitConfig) -> Any:
    """The answer (logits, or a dict with them), with the config's penalty on the network's kernels behind it."""
    if not penalizes(config):
        return answer
    penalty = Penalty(network, config)
    return answer | {LOGITS: penalty(answer[LOGITS])} if isinstance(answer, dict) else penalty(answer)
