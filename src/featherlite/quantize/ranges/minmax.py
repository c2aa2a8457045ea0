"""minmax: the true extremes, so that nothing is ever cut; the choice where no value is a rare outlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featherlite.quantize.observed import Seen

__all__ = ["minmax"]


def minmax(seen: Seen) -> tuple[float, float]:
    """The smallest and the largest value that occurred."""
    return seen.low, seen.high
