"""photos so dark that little can be seen

Where nothing can be seen, nothing can be learned but that the photo is dark. Leave out those in which you cannot name
the subject; keep dusk and night photos where a model must cope with them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.light import quantile

BRIGHT = 0.99
"""The luma that this share of the pixels stay below is the figure: night with a few lamps is dark, a bird before a
black background is not."""

THRESHOLD = 0.5
LIMIT = 0.3
"""Luma that scores THRESHOLD. The bright parts of 1 of 5,100 photos of flowers and birds are darker; a photo taken
down to a quarter of its light cannot be brighter than 0.25; at 70%, which is no fault, it is brighter than 0.4."""


@check()
def dark(evidence: Evidence) -> Iterator[Issue]:
    """Dark where even the bright parts are: the score falls from 1 at black over 0.5 at LIMIT to 0 at white."""
    bright = quantile(evidence.looks["histogram"], BRIGHT)
    scores = np.interp(bright, (0.0, LIMIT, 1.0), (1.0, 0.5, 0.0))
    return evidence.flag(
        "dark", scores, THRESHOLD, lambda i: f"{BRIGHT:.0%} of its pixels are darker than {bright[i]:.0%} of white"
    )
