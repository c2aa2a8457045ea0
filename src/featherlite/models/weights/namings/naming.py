"""One naming, and what comes of it for the layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Layout", "Naming", "layout_told"]

Layout = Literal["torch", "tensorflow"]
CONVERTED = re.compile(r"(?:^|[^a-z0-9])tf_")
"""What timm's names of weights that were converted from TensorFlow begin with."""


def layout_told(name: str) -> Layout:
    """The layout that the name of an architecture, file or repository tells of."""
    return "tensorflow" if CONVERTED.search(name) else "torch"


@dataclass(frozen=True)
class Naming:
    """How a library names the layers of a network: torch's module by Keras layer (LayerScale: by the tensor's name).

    `layout` and `epsilon` say what its network does differently from that of keras.applications. 'torch': strided
    convolutions are padded alike on all sides; 'tensorflow': as Keras does it. `epsilon` is BatchNorm's; None leaves
    layout and epsilon as the family builds them.
    """

    library: str
    layers: Mapping[str, str]
    layout: Layout | None = None
    epsilon: float | None = None
