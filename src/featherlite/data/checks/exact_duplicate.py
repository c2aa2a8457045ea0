"""files with the same bytes, under the same label

A photo that stands twice counts twice, and one copy in training and one in the test makes the score too good. All but
one can be left out without any loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue


@check()
def exact_duplicate(evidence: Evidence) -> Iterator[Issue]:
    """One issue for each file that stands more than once in its class; all but the first may go without any loss."""
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    for photo in evidence.photos:
        same[photo.sha256, photo.label].append(photo.path)
    for paths in same.values():
        if len(paths) > 1:
            copies = tuple(paths[1:])
            yield Issue("exact-duplicate", tuple(paths), 1.0, f"{len(paths)} files hold the same bytes", "drop", copies)
