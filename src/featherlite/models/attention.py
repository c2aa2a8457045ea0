"""Attention by name: a feature map [n, h, w, channels] becomes one of the same shape, weighed by place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from featherlite.models.backbones.card import MOMENTUM

__all__ = ["ATTENTIONS", "ATTENTION_MAP", "none", "spatial"]

ATTENTION_MAP = "head_attention_map"
"""The layer whose output is the map of spatial attention: float32 [n, h, w, 1], 0..1."""


def none(features: Any) -> Any:
    """The feature map as it is."""
    return features


def spatial(features: Any, *, attention_filters: int) -> Any:
    """The feature map times a map of weights in 0..1, one for each place: float32 [n, h, w, channels].

    The weights come from the features themselves: 1x1 convolution, BatchNorm, ReLU, 1x1 convolution to one channel,
    sigmoid. The map can be looked at (`featherlite attention`): it says where the network looks.
    """
    from keras import layers

    x = layers.Conv2D(attention_filters, 1, use_bias=False, name="head_attention_conv")(features)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="head_attention_bn")(x)
    x = layers.ReLU(name="head_attention_relu")(x)
    x = layers.Conv2D(1, 1, name="head_attention_score")(x)
    x = layers.Activation("sigmoid", name=ATTENTION_MAP)(x)
    return layers.Multiply(name="head_attention")([features, x])


ATTENTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({"none": none, "spatial": spatial})
