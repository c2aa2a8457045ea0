"""Figures of light from the histogram of a look: quantiles of luma."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["quantile"]


def quantile(histogram: NDArray[Any], share: float) -> NDArray[np.float64]:
    """The luma that `share` of the pixels stay below: float64 [n] in 0..1, from shares by luma [n, bins].

    Within a bin the pixels are taken to lie evenly.
    """
    below = np.cumsum(histogram.astype(np.float64), axis=1)
    below /= below[:, -1:]
    bins = histogram.shape[1]
    place = np.argmax(below >= share, axis=1)
    rows = np.arange(len(below))
    before = np.where(place > 0, below[rows, np.maximum(place - 1, 0)], 0.0)
    inside = below[rows, place] - before
    within = np.where(inside > 0, (share - before) / np.where(inside > 0, inside, 1.0), 0.0)
    return np.asarray((place + within) / bins, np.float64)
