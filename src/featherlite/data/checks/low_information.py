"""photos with next to nothing in them: one flat surface, or a placeholder of a few shades

Such files are often placeholders, lens caps or failed downloads, and they bear a label all the same. Leave out what
shows no subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.light import quantile

THRESHOLD = 0.5
RANGE = 0.12
"""Range of luma that scores THRESHOLD. The flattest of 5,100 photos of flowers and birds spans 0.27; a photo at 6% of
its contrast spans less than 0.08."""

BITS = 0.7
"""Entropy of luma that scores THRESHOLD. Those 5,100 photos have 0.9 bits or more; 0.7 is one shade over 81% of the
photo and one other over the rest."""


@check()
def low_information(evidence: Evidence) -> Iterator[Issue]:
    """The worse of two scores.

    By the range between the luma that 1% and 99% of the pixels stay below: from 1 at none over 0.5 at RANGE to 0 at
    all; and by the entropy of the histogram: from 1 at no bit over 0.5 at BITS to 0 at all bits there can be.
    """
    histogram = evidence.looks["histogram"]
    span = quantile(histogram, 0.99) - quantile(histogram, 0.01)
    bits = _entropy(histogram)
    by_span = np.interp(span, (0.0, RANGE, 1.0), (1.0, 0.5, 0.0))
    by_bits = np.interp(bits, (0.0, BITS, np.log2(histogram.shape[1])), (1.0, 0.5, 0.0))

    def message(number: int) -> str:
        if by_span[number] >= by_bits[number]:
            return f"nearly flat: its shades span {span[number]:.0%} of the way from black to white"
        return f"next to no detail: its shades hold {bits[number]:.1f} bits, where photos hold 4 to 6"

    return evidence.flag("low-information", np.maximum(by_span, by_bits), THRESHOLD, message)


def _entropy(histogram: NDArray[Any]) -> NDArray[np.float64]:
    """Bits a pixel, float64 [n], of shares [n, bins]. Source: Shannon 1948, H = -sum p log2 p."""
    shares = histogram.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    return np.asarray(-np.sum(shares * np.log2(np.where(shares > 0, shares, 1.0)), axis=1))
