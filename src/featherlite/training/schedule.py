"""The course of the learning rate, as plain functions of the share of training that is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCHEDULES", "Plateau", "constant", "cosine", "one_cycle", "rates"]

START_DIVISOR = 25.0
"""A one-cycle begins at peak / 25 ..."""
END_DIVISOR = 1e4
"""... and ends at a ten-thousandth of where it began."""


def one_cycle(share: float, warmup: float) -> float:
    """The factor on the peak rate: cosine up from 1/25 within `warmup`, then cosine down to 1/25/10000.

    Source: L. N. Smith and N. Topin, "Super-convergence" (arXiv:1708.07120), section 3, in the two-phase cosine form.
    """
    low, end = 1 / START_DIVISOR, 1 / START_DIVISOR / END_DIVISOR
    if share < warmup:
        return _anneal(low, 1.0, share / warmup)
    return _anneal(1.0, end, (share - warmup) / (1 - warmup))


def cosine(share: float, warmup: float) -> float:
    """The factor on the peak rate: a straight line up from 0 within `warmup`, then cosine down to 0.

    Source: I. Loshchilov and F. Hutter, "SGDR" (arXiv:1608.03983), equation 5 with a single period.
    """
    if share < warmup:
        return share / warmup
    return _anneal(1.0, 0.0, (share - warmup) / (1 - warmup))


def constant(share: float, warmup: float) -> float:
    """The factor on the peak rate: a straight line up from 0 within `warmup`, then always 1."""
    return share / warmup if share < warmup else 1.0


SCHEDULES: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {"one_cycle": one_cycle, "cosine": cosine, "constant": constant, "plateau": constant}
)
"""Courses by name; what lowers the rate on a plateau is the validation loss, epoch by epoch (see `Plateau`)."""


@dataclass
class Plateau:
    """How the validation loss went of late."""

    best: float | None = None
    waited: int = 0

    def reached(self, loss: float, patience: int) -> bool:
        """Takes in an epoch's loss; whether the rate is to fall, after `patience` epochs without a lower loss."""
        if self.best is None or loss < self.best:
            self.best, self.waited = loss, 0
            return False
        self.waited += 1
        if self.waited < patience:
            return False
        self.waited = 0
        return True


def rates(name: str, steps: int, peak: float, warmup: float) -> NDArray[np.float32]:
    """The learning rate of each step: float32 [steps]. The first step has share 0 and the last one share 1.

    One or two steps all have the peak rate: their course would be its two ends, where hardly anything is learned.
    """
    if steps < 3:
        return np.full(steps, peak, np.float32)
    course = SCHEDULES[name]
    return np.array([peak * course(step / (steps - 1), warmup) for step in range(steps)], dtype=np.float32)


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
