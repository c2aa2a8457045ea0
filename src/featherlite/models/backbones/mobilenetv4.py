"""MobileNetV4-Conv-S: universal inverted bottlenecks, ReLU alone, for phones of every kind.

A universal inverted bottleneck is an inverted residual with a depthwise kernel before its expansion, one behind it,
both, or none; which of them stands where was searched. Nothing but convolutions, BatchNorm and ReLU is in it, so it
quantizes well. Source: Qin et al. 2024 (arXiv:2404.10518), its table of MNv4-Conv-S.

The layout is timm's, whose weights are the ones at hand: strided kernels over maps padded alike on all sides, and
BatchNorm with an epsilon of 1e-5. The backbone ends with the map of 960 channels; the published classifier widens the
pooled features to 1,280 before it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featherlite.models.backbones.card import Card, Order
from featherlite.models.backbones.torch_padding import convolution, depthwise

__all__ = ["CARDS", "build", "torch_names"]

CARDS = (
    Card(
        name="MobileNetV4ConvSmall",
        family="mobilenetv4",
        summary="Universal inverted bottlenecks with ReLU alone: fast on every processor, and quantizes well.",
        paper="Qin et al., MobileNetV4, 2024, arXiv:2404.10518",
        constructor="featherlite.models.backbones.mobilenetv4.build",
        input_px=224,
        min_px=32,
        parameters=1_284_192,
        macs=183_496_768,
        torch_source="timm/mobilenetv4_conv_small.e2400_r224_in1k",
        torch_licence="Apache-2.0",
    ),
)


@dataclass(frozen=True)
class _Plain:
    """A convolution with BatchNorm and ReLU."""

    channels: int
    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class _Universal:
    """A universal inverted bottleneck: kernels before and behind its expansion, 0 for none."""

    before: int
    behind: int
    expansion: int
    channels: int
    stride: int = 1


_STEM = 32
_STAGES: tuple[tuple[_Plain | _Universal, ...], ...] = (
    (_Plain(32, 3, 2), _Plain(32, 1)),
    (_Plain(96, 3, 2), _Plain(64, 1)),
    (
        _Universal(5, 5, 3, 96, 2),
        *(_Universal(0, 3, 2, 96) for _ in range(4)),
        _Universal(3, 0, 4, 96),
    ),
    (
        _Universal(3, 3, 6, 128, 2),
        _Universal(5, 5, 4, 128),
        _Universal(0, 5, 4, 128),
        _Universal(0, 5, 3, 128),
        _Universal(0, 3, 4, 128),
        _Universal(0, 3, 4, 128),
    ),
    (_Plain(960, 1),),
)


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: float32 [n, h, w, 3] -> float32 [n, h/32, w/32, 960]."""
    import keras

    inputs = keras.Input(order.shape, name="photo")
    x = _activated(inputs, "conv_stem", "bn1", _STEM, 3, 2)
    for stage, blocks in enumerate(_STAGES):
        for number, block in enumerate(blocks):
            name = f"blocks_{stage}_{number}"
            if isinstance(block, _Plain):
                x = _activated(x, f"{name}_conv", f"{name}_bn1", block.channels, block.kernel, block.stride)
            else:
                x = _universal(x, name, block)
    return keras.Model(inputs, x, name=order.card.name)


def torch_names(_: Card) -> Mapping[str, str]:
    """The module in timm's state dict of each layer with weights; there is one layout only."""
    names = {"conv_stem": "conv_stem", "bn1": "bn1"}
    for stage, blocks in enumerate(_STAGES):
        for number, block in enumerate(blocks):
            parts = ["conv", "bn1"]
            if isinstance(block, _Universal):
                present = {"dw_start": block.before, "pw_exp": 1, "dw_mid": block.behind, "pw_proj": 1}
                parts = [f"{part}.{kind}" for part, kernel in present.items() if kernel for kind in ("conv", "bn")]
            for part in parts:
                names[f"blocks_{stage}_{number}_{part.replace('.', '_')}"] = f"blocks.{stage}.{number}.{part}"
    return names


def _universal(x: Any, name: str, block: _Universal) -> Any:
    """One universal inverted bottleneck; the kernel behind the expansion halves the map, where there is one."""
    from keras import layers

    y, wide = x, x.shape[-1] * block.expansion
    if block.before:
        y = depthwise(
            y, f"{name}_dw_start_conv", f"{name}_dw_start_bn", block.before, 1 if block.behind else block.stride
        )
    y = _activated(y, f"{name}_pw_exp_conv", f"{name}_pw_exp_bn", wide, 1, 1)
    if block.behind:
        y = depthwise(y, f"{name}_dw_mid_conv", f"{name}_dw_mid_bn", block.behind, block.stride)
        y = layers.ReLU(name=f"{name}_dw_mid_relu")(y)
    y = convolution(y, f"{name}_pw_proj_conv", f"{name}_pw_proj_bn", block.channels, 1, 1)
    if block.stride == 1 and x.shape[-1] == block.channels:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y


def _activated(x: Any, conv: str, norm: str, channels: int, kernel: int, stride: int) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{norm}_relu")(convolution(x, conv, norm, channels, kernel, stride))
