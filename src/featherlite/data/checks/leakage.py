"""the same picture in two of the given splits: what is tested has been trained on

A network remembers photos that it was trained on, so a test with them says nothing of new ones, and scores come out too
high. Leave out the copies in training.
"""

from __future__ import annotations

from collections.abc import Iterator

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.listing import GUARDED


@check(blocks=True)
def leakage(evidence: Evidence) -> Iterator[Issue]:
    """One issue for each cluster of twins that the given splits tear apart.

    The copies should leave the splits that need less guarding: those in train go before those in test.
    """
    for photos, score in evidence.torn_clusters(lambda photo: photo.split):
        splits = sorted({photo.split for photo in photos if photo.split is not None}, key=GUARDED.index)
        leaving = tuple(photo.path for photo in photos if photo.split not in (None, splits[0]))
        message = f"the same picture is in {' and in '.join(splits)}"
        yield Issue("leakage", tuple(photo.path for photo in photos), score, message, "drop", leaving)
