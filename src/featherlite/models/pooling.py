"""Pooling by name: a feature map [n, h, w, channels] becomes features [n, channels]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featherlite.models.named import named

__all__ = ["FLOOR", "POOLS", "WITHOUT_TFLM", "average", "gem"]

FLOOR = 1e-3
"""What smaller values count as in the generalized mean, whose logarithm they would not have."""


def average(features: Any) -> Any:
    """The mean of each channel over the map: float32 [n, channels]."""
    from keras import layers

    return layers.GlobalAveragePooling2D(name="head_pool")(features)


def gem(features: Any, *, gem_p: float) -> Any:
    """The generalized mean of each channel: float32 [n, channels], (mean over the map of x^p)^(1/p), x at least 0.001.

    p = 1 is the average and p -> infinity the maximum: between them, what is strong in a few places counts more.
    Computed from logarithms relative to the channel's largest, so that no power over- or underflows, in float32 for a
    large p nor in int8: exp(m + log(mean(exp(p (log x - m)))) / p), with m the maximum of log x.

    Source: F. Radenovic, G. Tolias and O. Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation"
    (arXiv:1711.02512), equation 3, with one fixed p.
    """
    from keras import layers, ops

    x = layers.Activation("linear", name="head_gem_input")(features)  # float32, whatever the backbone computes in
    x = named(ops.log(named(ops.maximum(x, FLOOR), "head_gem_floor")), "head_gem_log")
    peak = layers.GlobalMaxPooling2D(keepdims=True, name="head_gem_peak")(x)
    x = layers.Subtract(name="head_gem_relative")([x, peak])
    x = layers.Rescaling(gem_p, name="head_gem_times_p")(x)
    x = layers.Activation("exponential", name="head_gem_power")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="head_gem_mean")(x)
    x = layers.Rescaling(1 / gem_p, name="head_gem_root")(named(ops.log(x), "head_gem_log_mean"))
    x = layers.Flatten(name="head_gem_flat")(layers.Add(name="head_gem_absolute")([x, peak]))
    return layers.Activation("exponential", name="head_pool")(x)


POOLS: Mapping[str, Callable[..., Any]] = MappingProxyType({"average": average, "gem": gem})

WITHOUT_TFLM: Mapping[str, tuple[str, ...]] = MappingProxyType({"gem": ("EXP", "LOG")})
"""Operations that TensorFlow Lite Micro computes in float32 alone, by the pooling that needs them."""
