"""photos much larger or smaller than the others of the set

A size unlike the others often means another origin: a thumbnail, a scan, an image from a web page. It does no harm by
itself; look whether the photo belongs here at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.checks._fence import beyond
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

THRESHOLD = 0.5
SPREAD = 1 / 15
"""Octaves that sizes are taken to spread at least: where all others are alike, a side that is 15% off scores THRESHOLD
(three times the spread is a fifth of an octave)."""

COMMON = 0.05
"""A size that this share of the photos have, and no fewer than FEW of them, is one of the set's usual sizes."""

FEW = 5


@check()
def odd_size(evidence: Evidence) -> Iterator[Issue]:
    """By the sides in octaves, long and short ones apart, so that upright and lying photos are alike.

    The score is that of the odder side: see `beyond`.
    """
    looks = evidence.looks
    sides = np.sort(np.stack([looks["width"], looks["height"]], axis=1).astype(np.int64), axis=1)
    if not len(sides):
        return iter(())
    octaves = np.log2(sides)
    scores = np.maximum(beyond(octaves[:, 0], SPREAD), beyond(octaves[:, 1], SPREAD))
    _, kind, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    scores[count[kind.ravel()] >= max(FEW, COMMON * len(sides))] = 0.0
    short, long = np.median(sides, axis=0)
    return evidence.flag(
        "odd-size",
        scores,
        THRESHOLD,
        lambda i: f"{looks['width'][i]} x {looks['height'][i]} pixels, where {long:.0f} x {short:.0f} is usual",
    )
