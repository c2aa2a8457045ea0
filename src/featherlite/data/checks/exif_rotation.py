"""photos stored on their side, upside down or mirrored, put right by their EXIF orientation alone

Cameras store such photos as they were held, with a note of which side is up. There is nothing to do for featherlite,
which heeds the note; other tools may show these photos turned.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

SCORE = 0.2
"""No fault for featherlite, which honors the orientation; tools that do not will see these photos turned."""


@check()
def exif_rotation(evidence: Evidence) -> Iterator[Issue]:
    """One issue for all such photos: nearly every phone makes them."""
    turned = np.flatnonzero(evidence.looks["orientation"] > 1).tolist()
    if turned:
        paths = tuple(evidence.photos[number].path for number in turned)
        message = (
            f"{len(paths)} of {len(evidence.photos)} photos are stored turned or mirrored and put right by EXIF;"
            " featherlite does so everywhere, tools that ignore EXIF see them turned"
        )
        yield Issue("exif-rotation", paths, SCORE, message, "look", paths)
