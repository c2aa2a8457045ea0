"""entropy: the range whose coarse distribution says most about the true one, as TensorRT calibrates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featherlite.quantize.observed import Seen

__all__ = ["divergence", "entropy"]

LEVELS = 256
"""Steps of int8 over a whole range."""
SMOOTHING = 1e-4
STRIDE = 8
"""Every how many bins a cut is tried."""


def entropy(seen: Seen) -> tuple[float, float]:
    """The range cut at the magnitude where the Kullback-Leibler divergence is smallest, never beyond the extremes.

    Source: S. Migacz, "8-bit Inference with TensorRT" (GTC 2017), slides 20 to 34: 2048 bins of magnitudes, zeros left
    out, what is cut counted in the last bin kept. There a sign takes half of the levels; LiteRT's ranges need not lie
    evenly around zero, so that magnitudes get as many of the levels as the longer side has of the range.
    """
    found = seen.histogram
    half = len(found.counts) // 2
    magnitudes = (found.counts[half:] + found.counts[:half][::-1]).astype(np.float64)
    if not magnitudes.sum():
        return seen.low, seen.high
    levels = round(LEVELS * max(-seen.low, seen.high) / (max(seen.high, 0.0) - min(seen.low, 0.0)))
    cuts = range(half, levels - 1, -STRIDE)  # the whole range first: it wins among equals
    best = min(cuts, key=lambda cut: divergence(magnitudes, cut, levels))
    limit = best * found.width
    return max(-limit, seen.low), min(limit, seen.high)


def divergence(counts: NDArray[np.float64], cut: int, levels: int) -> float:
    """KL(P || Q) of the first `cut` bins, with all beyond them in the last, against themselves in `levels` levels.

    `counts` is float64 [bins]. Each level's counts are spread evenly over those of its bins that are not empty. A bin
    that the levels know nothing of has the share `SMOOTHING` there.
    """
    inside = counts[:cut]
    true = inside.copy()
    true[-1] += counts[cut:].sum()
    level = np.arange(cut) * levels // cut
    filled = (true > 0).astype(np.float64)
    sums = np.bincount(level, weights=inside, minlength=levels)
    bins = np.bincount(level, weights=filled, minlength=levels)
    coarse = np.divide(sums, bins, out=np.zeros(levels), where=bins > 0)[level] * filled
    if not coarse.sum():
        return float("inf")
    true, coarse = true / true.sum(), coarse / coarse.sum()
    there = true > 0
    empty = there & (coarse == 0)  # the last bin, where what was cut is all that lies there
    coarse = np.where(empty, SMOOTHING, coarse * (1 - SMOOTHING * empty.sum()))
    return float((true[there] * np.log(true[there] / coarse[there])).sum())
