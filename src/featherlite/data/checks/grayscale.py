"""grey photos among color photos

If most grey photos belong to one class, a network learns grey instead of the class. Look whether they gather in one
class; leave them out where your camera takes color photos only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

THRESHOLD = 0.5
LIMIT = 0.008
"""Mean of max(R, G, B) - min(R, G, B) that is half grey: two levels of 255. Rounding by JPEG stays below; the palest
of 1,676 color photos of birds has 0.016."""

COMMON = 0.25
"""Where this share of the photos is grey, grey is one of two usual kinds (camera traps take grey photos at night)."""


@check()
def grayscale(evidence: Evidence) -> Iterator[Issue]:
    """How grey a photo is times how rare grey photos are.

    Grey: from 1 at no chroma over 0.5 at LIMIT to 0 at twice that, 1 for a file without color channels. Rare: from 1
    where hardly any photo is grey over 0.5 at COMMON to 0 at half of the photos and above.
    """
    looks = evidence.looks
    chroma = looks["chroma"].astype(np.float64)
    grey = np.interp(chroma, (0.0, 2 * LIMIT), (1.0, 0.0))
    grey[looks["channels"] == 1] = 1.0
    share = float(np.mean(grey >= THRESHOLD)) if len(grey) else 0.0
    rarity = max(0.0, 1.0 - share * THRESHOLD / COMMON)
    return evidence.flag(
        "grayscale", grey * rarity, THRESHOLD, lambda _: f"grey, where {1 - share:.1%} of the photos are in color"
    )
