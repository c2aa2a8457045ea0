"""feathernet: featherlite's own family for microcontrollers, about 30k to 400k parameters at 48 to 128 px.

What decides whether a network fits a microcontroller is its largest pair of activations (the arena) and its bytes of
weights (the flash), hardly its multiply-accumulates. So:

- Strides come early and the first maps are thin, because activations are largest there. Source: Lin et al., "MCUNet",
  2020 (arXiv:2007.10319), and "MCUNetV2", 2021 (arXiv:2110.15352, section 2); fast downsampling: Qin et al.,
  "FD-MobileNet", 2018 (arXiv:1802.03750).
- A block that halves the map is *fused*: its expansion is a strided 3x3 convolution, so the expanded map never exists
  at the larger size, and one wide tensor is alive where an inverted residual has two. Source: Gupta and Tan,
  "EfficientNet-EdgeTPU", 2019; Tan and Le, "EfficientNetV2", 2021 (arXiv:2104.00298, section 3.2).
- Where maps are small, inverted residuals with linear bottlenecks spend the weights best. Source: Sandler et al.,
  "MobileNetV2", 2018 (arXiv:1801.04381, section 3).
- Few wide channels rather than many thin layers: an int8 artefact stores scale, zero point and bias for every output
  channel, and TensorFlow Lite Micro keeps multiplier and shift for each in the arena.
- ReLU6 alone, no squeeze-and-excite, no swish, no explicit padding, no concatenation: every operation is one of
  CONV_2D, DEPTHWISE_CONV_2D, ADD, MEAN and FULLY_CONNECTED, which CMSIS-NN and Ethos-U run whole. Source: Banbury et
  al., "MicroNets", 2021 (arXiv:2010.11267).

Measured (int8, slimmed, five classes; flash bytes, TensorFlow Lite Micro arena bytes on the host): 96 px width 1.0
137,136 and 70,464; width 1.1 159,072 and 71,808; 128 px width 1.4 261,376 and 155,072.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from featherlite.models.backbones.card import MOMENTUM, Card, Order

__all__ = ["CARDS", "ROWS", "Row", "build", "channels_of"]


@dataclass(frozen=True)
class Row:
    """Blocks of one resolution. `kind`: expansion by 1x1 before a depthwise kernel, or fused with the kernel."""

    kind: Literal["fused", "inverted"]
    channels: int
    blocks: int
    stride: int
    expansion: int
    kernel: int


STEM = 8
ROWS: tuple[Row, ...] = (
    Row("fused", 16, 1, 2, 4, 3),
    Row("fused", 32, 1, 2, 4, 3),
    Row("inverted", 32, 2, 1, 4, 3),
    Row("inverted", 56, 3, 2, 4, 3),
)
LAST = 128

CARDS = (
    Card(
        name="feathernet",
        family="feathernet",
        summary="featherlite's own, for microcontrollers: early strides, fused then inverted residuals, ReLU6 alone.",
        paper="featherlite, after MCUNetV2 (arXiv:2110.15352), EfficientNetV2 (arXiv:2104.00298) and"
        " MobileNetV2 (arXiv:1801.04381)",
        constructor="featherlite.models.backbones.feathernet.build",
        input_px=96,
        min_px=32,
        parameters=115_480,
        macs=9_531_648,
        options=("width", "depth", "stem_stride", "cut"),
    ),
)


def build(order: Order) -> Any:
    """The network without head: float32 [n, h, w, 3], (pixel - 128) / 128 -> float32 [n, h/16, w/16, channels].

    `width` multiplies channels (rounded to multiples of 8), `depth` the blocks that repeat at one resolution, and
    `stem_stride` is 1 for photos that are small already, 4 where the first map must be smaller still.
    """
    import keras

    inputs = keras.Input(order.shape, name="photo")
    kernel = 5 if order.stem_stride == 4 else 3
    x = _convolution(inputs, "stem", channels_of(STEM, order.width), kernel, order.stem_stride)
    for stage, row in enumerate(ROWS, start=1):
        repeats = max(1, round(row.blocks * order.depth)) if row.blocks > 1 else 1
        for block in range(repeats):
            stride = row.stride if block == 0 else 1
            x = _block(x, f"stage{stage}_block{block + 1}", row, channels_of(row.channels, order.width), stride)
    x = _convolution(x, "last", channels_of(LAST, order.width), 1, 1)
    return keras.Model(inputs, x, name="feathernet")


def channels_of(base: int, width: float) -> int:
    """Channels after the width multiplier: the nearest multiple of 8, at least 8; kernels of devices work in eights."""
    return max(8, int(base * width + 4) // 8 * 8)


def _convolution(x: Any, name: str, channels: int, kernel: int, stride: int) -> Any:
    """Convolution, BatchNorm, ReLU6; 'same' padding, so that no PAD operation stands beside it on the device."""
    from keras import layers

    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _activated(x, name)


def _activated(x: Any, name: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _block(x: Any, name: str, row: Row, channels: int, stride: int) -> Any:
    """One residual block; the shortcut stands only where shapes agree, since a device pays for any other kind."""
    from keras import layers

    wide = x.shape[-1] * row.expansion
    if row.kind == "fused":
        y = _convolution(x, f"{name}_expand", wide, row.kernel, stride)
    else:
        y = _convolution(x, f"{name}_expand", wide, 1, 1)
        y = layers.DepthwiseConv2D(row.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(y)
        y = _activated(y, f"{name}_depthwise")
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_project_bn")(y)
    if stride == 1 and x.shape[-1] == channels:
        y = layers.Add(name=f"{name}_add")([x, y])
    return y
