"""Cards: the facts of a backbone as data, read without Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["MOMENTUM", "OURS", "TORCH", "Card", "Convention", "Order"]


MOMENTUM = 0.9
"""BatchNormalization's momentum: published networks' 0.99 and 0.999 leave stale statistics after short training."""


@dataclass(frozen=True)
class Convention:
    """How a network wants its pixels: value[k] = pixel[order[k]] * scale[k] + offset[k], with pixels in 0..255."""

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    order: Literal["RGB", "BGR"] = "RGB"


OURS = Convention(scale=(1 / 128, 1 / 128, 1 / 128), offset=(-1.0, -1.0, -1.0))
"""The contract of every network in a bundle: (pixel - 128) / 128."""

_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCH = Convention(
    scale=(1 / (255 * _DEVIATIONS[0]), 1 / (255 * _DEVIATIONS[1]), 1 / (255 * _DEVIATIONS[2])),
    offset=(-_MEANS[0] / _DEVIATIONS[0], -_MEANS[1] / _DEVIATIONS[1], -_MEANS[2] / _DEVIATIONS[2]),
)
"""What most weights of torchvision and timm expect: RGB in 0..1, less ImageNet's means, by its standard deviations."""


@dataclass(frozen=True)
class Card:
    """What is known of a backbone before it is built; `featherlite models` prints it.

    `parameters` and `macs` (multiply-accumulates for one photo of `input_px`) are of the backbone without head at width
    and depth 1. `convention` is the input that published weights expect, None where the network carries it as layers of
    its own. `source` says where ImageNet weights come from, for the widths in `imagenet_widths`; empty where there are
    none.

    Inputs of `min_px` to `max_px` are taken, whose sides need not be equal. `torch_source` names weights in
    torchvision's or timm's naming that fit (`timm/NAME` is one on the Hugging Face hub), under `torch_licence`;
    `torch_convention` is the input that those expect.
    """

    name: str
    family: str
    summary: str
    paper: str
    constructor: str
    input_px: int
    min_px: int
    parameters: int
    macs: int
    source: str = ""
    weights_licence: str = ""
    imagenet_widths: tuple[float, ...] = ()
    options: tuple[Literal["width", "depth", "stem_stride", "cut"], ...] = ("cut",)
    convention: Convention | None = OURS
    max_px: int = 1024
    torch_source: str = ""
    torch_licence: str = ""
    torch_convention: Convention = TORCH


@dataclass(frozen=True)
class Order:
    """What a family is asked to build: a card, the input size in pixels, the options, and whether to fetch weights.

    `torch`: laid out as torch's versions are (symmetric padding, strides of v1.5), for weights in their naming.
    """

    card: Card
    height: int
    width_px: int
    width: float = 1.0
    depth: float = 1.0
    stem_stride: int = 2
    imagenet: bool = False
    torch: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """The input shape (height, width, channels)."""
        return (self.height, self.width_px, 3)
