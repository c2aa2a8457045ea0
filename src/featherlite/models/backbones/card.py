"""Cards: the facts of a backbone as data, read without Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["MOMENTUM", "OURS", "Card", "Convention", "Order"]


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


@dataclass(frozen=True)
class Card:
    """What is known of a backbone before it is built; `featherlite models` prints it.

    `parameters` and `macs` (multiply-accumulates for one photo of `input_px`) are of the backbone without head at width
    and depth 1. `convention` is the input that published weights expect, None where the network carries it as layers of
    its own. `source` says where ImageNet weights come from, for the widths in `imagenet_widths`; empty where there are
    none.
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


@dataclass(frozen=True)
class Order:
    """What a family is asked to build: a card, the input size in pixels, the options, and whether to fetch weights."""

    card: Card
    height: int
    width_px: int
    width: float = 1.0
    depth: float = 1.0
    stem_stride: int = 2
    imagenet: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """The input shape (height, width, channels)."""
        return (self.height, self.width_px, 3)
