"""files that should be photos and cannot be used: truncated, empty, not an image, misplaced

None of these is trained or tested on, so the class has fewer photos than its folder has files. Fetch or save again what
matters, and put misplaced photos into the folder of their class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.listing import Fault

DOCUMENTS = frozenset((".csv", ".html", ".json", ".md", ".pdf", ".tsv", ".txt", ".xml"))
"""Suffixes of what often lies beside photos and is none."""

PHOTOS = frozenset((".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""Suffixes of what promises to be a photo that can be read."""

HARMLESS = frozenset(("hidden", "link-repeated", "two-labels"))
"""Reasons for which something is left out as it should be, or that another check tells of."""

DAMAGE = frozenset(("damaged", "empty", "missing", "too-large", "too-many-pixels", "truncated", "unreadable"))
"""Reasons that are certain to be faults, whatever the file's name."""

CERTAIN, UNSURE = 1.0, 0.5
MANY = 50
"""More faults of one reason than this are one issue: nobody reads a line for each row of a table whose photos moved."""


@check()
def unreadable(evidence: Evidence) -> Iterator[Issue]:
    """One issue for each file or folder that the scan could not use, but for documents and what is hidden.

    The score is CERTAIN for damage, and for what is no image and yet called one; UNSURE for the rest, such as a photo
    beside the class folders or a broken link. There is nothing to drop: these files are not used.
    """
    told: dict[tuple[str, float], list[Fault]] = defaultdict(list)
    for fault in evidence.faults:
        suffix = PurePosixPath(fault.path).suffix.casefold()
        if fault.reason in HARMLESS or suffix in DOCUMENTS:
            continue
        certain = fault.reason in DAMAGE or (fault.reason == "not-an-image" and suffix in PHOTOS)
        told[fault.reason, CERTAIN if certain else UNSURE].append(fault)
    for (reason, score), faults in told.items():
        together = [faults] if len(faults) > MANY else [[fault] for fault in faults]
        for some in together:
            paths = tuple(fault.path for fault in some)
            what = some[0].message if len(some) == 1 else f"{len(some):,} files, such as {paths[0]}: {some[0].message}"
            yield Issue("unreadable", paths, score, f"not used ({reason}): {what}", "look", paths)
