"""the same picture more than once under one label: saved again, resized, cropped, mirrored, recolored, stamped

Copies do no harm as long as all of them stand on one side of the split, which featherlite sees to. If one picture comes
up very often, its class holds less variety than its count suggests.
"""

from __future__ import annotations

from collections.abc import Iterator

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue


@check()
def near_duplicate(evidence: Evidence) -> Iterator[Issue]:
    """One issue for each cluster of twins that is more than copies of one file.

    They teach little, but do no harm where they stay on one side of the split, which `featherlite split` sees to.
    """
    for photos, score in evidence.torn_clusters(lambda photo: photo.sha256):
        if len({photo.label for photo in photos}) == 1:
            paths = tuple(photo.path for photo in photos)
            message = f"{len(paths)} photos show the same picture, or nearly (likeness {score:.2f})"
            yield Issue("near-duplicate", paths, score, message, "keep-together", paths)
