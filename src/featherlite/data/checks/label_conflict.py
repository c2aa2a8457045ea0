"""the same picture under two labels: at most one of them is right

One of the two is taught or scored wrongly, whatever the network answers. Keep the photo under the right label and leave
out the other; where you cannot tell, leave out both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

TWO_LABELS = "two-labels"
"""Reason of the fault of a table that names one file twice, under two labels."""


@check(blocks=True)
def label_conflict(evidence: Evidence) -> Iterator[Issue]:
    """One issue for each cluster of twins with more than one label.

    Where more than half of the cluster agree, the others should go; where not, nobody knows which is right, and all
    should.
    """
    for fault in evidence.faults:
        if fault.reason == TWO_LABELS:
            yield Issue("label-conflict", (fault.path,), 1.0, fault.message, "drop", (fault.path,))
    for photos, score in evidence.torn_clusters(lambda photo: photo.label):
        counts = Counter(photo.label for photo in photos)
        leader, votes = counts.most_common(1)[0]
        wrong = [photo for photo in photos if photo.label != leader] if 2 * votes > len(photos) else photos
        named = " and ".join(f"'{label}'" for label in sorted(counts))
        yield Issue(
            "label-conflict",
            tuple(photo.path for photo in photos),
            score,
            f"the same picture is labelled {named}",
            "drop",
            tuple(photo.path for photo in wrong),
        )
