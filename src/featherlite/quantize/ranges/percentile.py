"""percentile: all but the rarest values at either end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from featherlite.quantize.observed import Seen

__all__ = ["percentile"]


def percentile(seen: Seen, *, percentile: float) -> tuple[float, float]:
    """The range that holds `percentile` (50 .. 100) percent of the values counted from either end, zeros among them.

    Where so many of them are zero that nothing else would be left, the range is that of the extremes.

    Source: H. Wu, P. Judd, X. Zhang, M. Isaev, P. Micikevicius, "Integer Quantization for Deep Learning Inference:
    Principles and Empirical Evaluation" (arXiv:2004.09602), section 3.3; there of magnitudes, here of either end.
    """
    found = seen.histogram
    half = len(found.counts) // 2
    total = int(found.counts.sum()) + found.zeros
    allowed = total * (1 - percentile / 100)
    # How many values lie in or beyond each bin: the outermost bin where that is over `allowed` ends the range.
    above = np.cumsum(found.counts[half:][::-1])[::-1]
    below = np.cumsum(found.counts[:half])[::-1]
    high, low = (int((beyond > allowed).sum()) * found.width for beyond in (above, below))
    if high == low == 0:  # what is nearly always zero says what it has to say with its rare values
        return seen.low, seen.high
    return max(-low, seen.low), min(high, seen.high)
