"""Cards: the facts of a backbone as data, read without Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["OURS", "Card", "Convention", "Order"]


class Convention(BaseModel):
    """How a network wants its pixels: value[k] = pixel[order[k]] * scale[k] + offset[k], with pixels in 0..255."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    order: Literal["RGB", "BGR"] = "RGB"


OURS = Convention(scale=(1 / 128, 1 / 128, 1 / 128), offset=(-1.0, -1.0, -1.0))
"""The contract of every network in a bundle: (pixel - 128) / 128."""


class Card(BaseModel):
    """What is known of a backbone before it is built; `featherlite models` prints it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    family: str
    summary: str
    paper: str
    constructor: str
    """The function that builds it, as a dotted name."""
    weights_source: str = ""
    """Where ImageNet weights come from; empty where there are none."""
    weights_licence: str = ""
    convention: Convention | None = OURS
    """The input that published weights expect; None where the network carries it as layers of its own."""
    default_px: int = Field(ge=16)
    min_px: int = Field(ge=16)
    parameters: int
    """Of the backbone without head, at width 1 and depth 1."""
    macs: int
    """Multiply-accumulates of the backbone without head for one photo of `default_px`."""
    options: tuple[Literal["width", "depth", "stem_stride", "cut"], ...] = ("cut",)
    imagenet_widths: tuple[float, ...] = ()
    """Widths for which ImageNet weights are published."""


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
