"""mse: the range whose rounding and cutting together move the values least, by the mean of the squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featherlite.quantize.observed import Seen

__all__ = ["mse"]

STEPS = 255
SHARES = np.linspace(1.0, 0.02, 99)
"""The cuts that are tried, as shares of the extremes; the whole range first, which wins where cutting gains nothing."""
ROUNDS = 3
"""Each end is sought with the other held, this often."""


def mse(seen: Seen) -> tuple[float, float]:
    """The range in 255 steps with the smallest mean squared error.

    Source: R. Banner, Y. Nahshan, E. Hoffer, D. Soudry, "Post-training 4-bit quantization of convolution networks for
    rapid-deployment" (arXiv:1810.05723), section 3: cutting against rounding; here on the histogram itself.
    """
    found = seen.histogram
    there = found.counts > 0
    values, weights = found.centers[there], found.counts[there].astype(np.float64)
    low, high = seen.low, seen.high
    if not len(values):
        return low, high
    for _ in range(ROUNDS):
        before = (low, high)
        high = _best(values, weights, np.full(len(SHARES), low), SHARES * seen.high)[1]
        low = _best(values, weights, SHARES * seen.low, np.full(len(SHARES), high))[0]
        if (low, high) == before:
            break
    return low, high


def _best(
    values: NDArray[np.float64], weights: NDArray[np.float64], lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> tuple[float, float]:
    """Of the candidate ranges the one with the smallest error; the first of equals."""
    errors = [error(values, weights, float(low), float(high)) for low, high in zip(lows, highs, strict=True)]
    place = int(np.argmin(errors))
    return float(lows[place]), float(highs[place])


def error(values: NDArray[np.float64], weights: NDArray[np.float64], low: float, high: float) -> float:
    """The sum of squared errors that values (float64 [n], each as often as its weight says) suffer in the range."""
    if high <= low:
        return float("inf")
    step = (high - low) / STEPS
    zero = np.rint(-low / step)  # zero is a value of its own, as in LiteRT
    rounded = (np.clip(np.rint(values / step) + zero, 0, STEPS) - zero) * step
    return float((weights * (rounded - values) ** 2).sum())
