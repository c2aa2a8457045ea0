"""What an open file of weights holds: datasets by Keras layer, or tensors by torch's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.models.named import HEAD

__all__ = ["Stored", "Tensors", "shown"]

SHOWN = 80


def shown(name: str) -> str:
    """A name from a file as it may stand in a message: what could steer a terminal or fill it is left out."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in name[:SHOWN])
    return plain + "..." if len(name) > SHOWN else plain


@dataclass(frozen=True)
class Stored:
    """The weights in an open file of Keras: datasets by layer name. `ours`: a featherlite network wrote them."""

    path: Path
    layers: Mapping[str, tuple[Any, ...]]

    @property
    def ours(self) -> bool:
        """Whether they are weights of a whole featherlite network, whose input is the contract's already."""
        return any(name.startswith(HEAD) for name in self.layers)

    def find(self, name: str) -> tuple[Any, ...] | None:
        """The datasets of one layer; automatic names ('normalization_3') match whatever their number is."""
        if name in self.layers:
            return self.layers[name]
        plain = re.sub(r"_\d+$", "", name)
        if plain not in ("normalization", "layer_normalization"):
            return None
        near = [key for key in self.layers if re.fullmatch(rf"{plain}(_\d+)?", key)]
        return self.layers[near[0]] if len(near) == 1 else None


@dataclass(frozen=True)
class Tensors:
    """The tensors in an open file of torch: shapes by name, and `read`, which gives one as float32.

    `architecture`, `mean` and `deviation` (of pixels in 0..1) are what timm's config.json beside the file tells; empty
    where there is none.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], NDArray[np.float32]]
    architecture: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
