"""classes of too few photos to be trained and tested

A class needs photos to learn from and others to be tested on. Gather more, merge it into a kindred class, or take its
score for the guess that it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

THRESHOLD = 0.5
LIMIT = 5
"""Photos that score THRESHOLD: the most that still leave one for each split and one more to train on."""


@check()
def small_class(evidence: Evidence) -> Iterator[Issue]:
    """By the number of photos: from 1 at none over 0.5 at LIMIT to 0 at twice that; fewer than LIMIT are small.

    Where most classes are small that is what the set is, and one issue says so.
    """
    sizes = {label: len(members) for label, members in evidence.classes.items()}
    small = {label: size for label, size in sizes.items() if size < LIMIT}
    if len(small) > 2 and len(small) > len(sizes) / 2:
        middle = median(small.values())
        message = (
            f"{len(small)} of {len(sizes)} classes have fewer than {LIMIT} photos ({middle:g} in the middle): what is"
            " said of a single class rests on a photo or none, so judge by the whole set, and prefer k-fold splits"
        )
        yield Issue("small-class", (), _score(round(middle)), message)
        return
    for label, size in small.items():
        if size == 1:
            fate = "it trains, and nothing tests the class"
        else:
            fate = f"at most {size - 1} of them can be held back, so tests say next to nothing of the class"
        photos = "one photo" if size == 1 else f"{size} photos"
        yield Issue("small-class", (), _score(size), f"the class '{label}' has {photos}: {fate}")


def _score(size: int) -> float:
    return float(np.interp(size, (0, LIMIT, 2 * LIMIT), (1.0, 0.5, 0.0)))
