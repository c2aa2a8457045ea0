"""photos of too few pixels to learn from

An enlarged thumbnail has no detail, and a network may learn the blocks that enlarging leaves. Fetch the photo in full
size, or leave it out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Action, Issue

THRESHOLD = 0.5
LIMIT = 48
"""Short side that scores THRESHOLD: half of the 96 px that small networks see."""

USELESS = 24
"""Below this short side dropping is suggested: at a quarter of 96 px each pixel is seen sixteen times."""


@check()
def tiny(evidence: Evidence) -> Iterator[Issue]:
    """By the short side: from 1 at no pixel over 0.5 at LIMIT to 0 at twice that.

    Where most photos are tiny that is what the set is, and one issue says so.
    """
    looks = evidence.looks
    short = np.minimum(looks["width"], looks["height"]).astype(np.float64)
    scores = np.interp(short, (0, LIMIT, 2 * LIMIT), (1.0, 0.5, 0.0))
    flagged = int(np.count_nonzero(scores >= THRESHOLD))
    if flagged > len(scores) / 2:
        message = f"{flagged} of {len(scores)} photos have short sides of {LIMIT} pixels or less: choose a small input"
        yield Issue("tiny", (), THRESHOLD, message)
        return
    for number in np.flatnonzero(scores >= THRESHOLD).tolist():
        path = evidence.photos[number].path
        message = f"only {looks['width'][number]} x {looks['height'][number]} pixels"
        action: Action = "drop" if short[number] < USELESS else "look"
        yield Issue("tiny", (path,), float(scores[number]), message, action, (path,))
