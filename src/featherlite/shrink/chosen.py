"""Some photos of a set, drawn by seed and read batch by batch: a choice among memory-mapped ones costs no memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data.splits import no_training_photos

__all__ = ["ChosenPhotos", "drawn"]


def drawn(there: int, most: int, seed: int | Sequence[int] | np.random.Generator, what: str) -> NDArray[np.int64]:
    """At most so many of the training photos that there are, drawn by seed, to do `what` with: int64 [n], rising.

    Raises:
        DataError: there are none.
    """
    if not there:
        raise no_training_photos(f"to {what}")
    return np.sort(np.random.default_rng(seed).permutation(there)[:most])


@dataclass(frozen=True)
class ChosenPhotos:
    """The photos `rows` (int64 [n]) of `images`: sliced, uint8 [b, height, width, 3], as those are indexed."""

    images: Any
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        return np.asarray(self.images[self.rows[part]])
