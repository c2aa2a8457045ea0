"""What goes wrong at one tensor of an artefact in integers, summed over photos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherlite.quantize.insides import dequantized, limits
from featherlite.runtime.flatbuffer import TensorFacts

__all__ = ["CEILING_DB", "Floats", "Tally", "decibels"]

Floats = NDArray[np.float32]

CEILING_DB = 120.0
"""Where there is no noise at all, or next to none, the ratio ends here."""


def decibels(signal: float, noise: float) -> float:
    """The ratio of two powers in dB, at most 120 either way."""
    if noise <= 0 or signal <= 0:
        return CEILING_DB if noise <= 0 else -CEILING_DB
    return max(-CEILING_DB, min(CEILING_DB, 10 * math.log10(signal / noise)))


@dataclass
class Tally:
    """Sums of squares and counts over all values of one tensor.

    `signal` is that of the float network, `noise` the artefact's difference to it. `own` is the part that arises at
    this tensor: its difference to what the float layers make of the artefact's own inputs. `rounding` and `clipping`
    are what storing alone would cost: values inside and outside of the range; the rest of `own` comes from the kernel.
    """

    facts: TensorFacts
    gain: Floats | float = 1.0
    signal: float = 0.0
    noise: float = 0.0
    own: float = 0.0
    rounding: float = 0.0
    clipping: float = 0.0
    at_low: int = 0
    at_high: int = 0
    clipped: int = 0
    values: int = 0
    largest: float = 0.0
    logits: float = 0.0
    """the squared change of the logits that this tensor's own noise alone makes"""
    flips: int = 0
    """photos whose answer that changes"""

    def add(self, raw: NDArray[np.generic], exact: Floats, local: Floats) -> Floats:
        """Counts some photos in, and returns the tensor's own noise in the network's units, float32 as `local`.

        `raw` is what the artefact stores, `exact` what the float network has there, `local` what the float layers make
        of the artefact's inputs; all [n, values].
        """
        stored = dequantized(raw, self.facts) / self._spread(exact)
        own = stored - local
        self.signal += _power(exact)
        self.noise += _power(stored - exact)
        self.own += _power(own)
        self.values += exact.size
        self.largest = max(self.largest, float(np.abs(exact).max(initial=0.0)))
        bounds = limits(self.facts)
        if bounds is not None:
            self._count(raw, local, bounds)
        return own

    def _count(self, raw: NDArray[np.generic], local: Floats, bounds: tuple[int, int]) -> None:
        scale, zero = float(self.facts.scale or 1.0), int(self.facts.zero_point or 0)
        steps = local * self._spread(local) / np.float32(scale) + np.float32(zero)
        kept = np.clip(np.rint(steps), *bounds)
        outside = (steps < bounds[0] - 0.5) | (steps > bounds[1] + 0.5)
        lost = (kept - steps) * np.float32(scale) / self._spread(local)
        self.clipping += _power(lost[outside])
        self.rounding += _power(lost[~outside])
        self.clipped += int(np.count_nonzero(outside))
        self.at_low += int(np.count_nonzero(raw == bounds[0]))
        self.at_high += int(np.count_nonzero(raw == bounds[1]))

    def _spread(self, values: Floats) -> Floats | float:
        """The gain of each value's channel; channels come last."""
        if isinstance(self.gain, float):
            return self.gain
        return np.tile(self.gain, values.shape[-1] // len(self.gain))

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest number that can be stored."""
        bounds = limits(self.facts)
        if bounds is None or self.facts.scale is None or self.facts.zero_point is None:
            return None
        low, high = ((end - self.facts.zero_point) * self.facts.scale for end in bounds)
        return low, high


def _power(values: Floats) -> float:
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return float(flat @ flat)
