"""How far a value lies outside of where most of a set's values lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAR", "beyond"]

FAR = 3.0
"""Tukey's fence for what is far out, in widths of the middle half."""


def beyond(values: NDArray[Any], spread: float) -> NDArray[np.float64]:
    """Scores of values [n]: float64 [n], 0 in the middle half, 0.5 at the fence, towards 1 far beyond it.

    With d the distance to the nearer quartile in units of the distance between the quartiles, or of `spread` where
    that is larger, the score is d / (d + FAR). Source: Tukey 1977, Exploratory Data Analysis, section 2D.
    """
    low, high = np.quantile(values, (0.25, 0.75))
    distance = np.maximum(np.maximum(low - values, values - high), 0.0) / max(float(high - low), spread)
    return np.asarray(distance / (distance + FAR), np.float64)
