"""photos much longer or narrower than the others of the set

The network's input has one shape for all: of a very long photo the ends are cut off or the subject is squeezed. Look
for panoramas, screenshots and collages, and crop or leave them out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.checks._fence import beyond
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

THRESHOLD = 0.5
SPREAD = 0.25
"""Octaves that the ratio of sides is taken to spread at least: where all others are square, 1.7 to 1 scores
THRESHOLD."""


@check()
def odd_aspect(evidence: Evidence) -> Iterator[Issue]:
    """By the ratio of the long to the short side in octaves, so that upright and lying ones are alike: see `beyond`."""
    looks = evidence.looks
    if not len(looks):
        return iter(())
    ratio = np.abs(np.log2(looks["width"].astype(np.float64) / looks["height"]))
    scores = beyond(ratio, SPREAD)
    usual = 2 ** float(np.median(ratio))
    return evidence.flag(
        "odd-aspect",
        scores,
        THRESHOLD,
        lambda i: (
            f"{looks['width'][i]} x {looks['height'][i]} pixels: sides of {2 ** ratio[i]:.1f} to 1,"
            f" where {usual:.1f} to 1 is usual"
        ),
    )
