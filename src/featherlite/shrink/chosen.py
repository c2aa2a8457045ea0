"""Some photos of a set, read batch by batch: a choice among memory-mapped ones costs no memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChosenPhotos"]


@dataclass(frozen=True)
class ChosenPhotos:
    """The photos `rows` (int64 [n]) of `images`: sliced, uint8 [b, height, width, 3], as those are indexed."""

    images: Any
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        return np.asarray(self.images[self.rows[part]])
