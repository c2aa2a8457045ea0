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
  "MobileNetV2", 2018 (arXiv:1801.04381); larger depthwise kernels are nearly free in flash: Cai et al.,
  "ProxylessNAS", 2019 (arXiv:1812.00332).
- Few wide channels rather than many thin layers: an int8 artefact stores scale, zero point and bias for every output
  channel, and TensorFlow Lite Micro keeps multiplier and shift for each in the arena.
- ReLU6 alone, no squeeze-and-excite, no swish, no explicit padding, no concatenation: every operation is one of
  CONV_2D, DEPTHWISE_CONV_2D, ADD, MEAN and FULLY_CONNECTED, which CMSIS-NN and Ethos-U run whole. Source: Banbury et
  al., "MicroNets", 2021 (arXiv:2010.11267).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from featherlite.models.backbones.card import OURS, Card, Order

__all__ = ["CARDS", "ROWS", "Row", "build", "channels_of"]


@dataclass(frozen=True)
class Row:
    """Blocks of one resolution. `kind` says whether the expansion is 1x1 before a depthwise kernel, or fused with it."""

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
    Row("inverted", 56, 3, 2, 4, 5),
)
LAST = 128
