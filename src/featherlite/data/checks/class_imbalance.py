"""classes with many times more or fewer photos than the others

A network answers the common class when in doubt, and a good score can hide that rare classes are never found. Gather
more photos of the rare ones, or judge by macro-F1, in which all classes count alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

THRESHOLD = 0.5
TIMES = 4.0
"""How many times more or fewer photos than the middle class score THRESHOLD."""


@check()
def class_imbalance(evidence: Evidence) -> Iterator[Issue]:
    """By the octaves between a class and the median class: 0 at none, 0.5 at TIMES, 1 at the square of TIMES and on."""
    if not evidence.classes:
        return
    sizes = np.array([len(members) for members in evidence.classes.values()], np.float64)
    middle = float(np.median(sizes))
    octaves = np.abs(np.log2(sizes / middle))
    scores = np.minimum(1.0, THRESHOLD * octaves / np.log2(TIMES))
    for label, size, score in zip(evidence.classes, sizes.tolist(), scores.tolist(), strict=True):
        if score < THRESHOLD:
            continue
        times, what = (middle / size, "fewer") if size < middle else (size / middle, "more")
        photos = "1 photo" if size == 1 else f"{size:.0f} photos"
        message = (
            f"the class '{label}' has {photos}, {times:.1f} times {what} than the middle class with {middle:g}: a"
            f" network will answer it too {'seldom' if size < middle else 'often'}"
        )
        yield Issue("class-imbalance", (), score, message)
