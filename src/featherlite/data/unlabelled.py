"""Photos without labels: all that lie under a folder, at any depth, or in a table or container."""

from __future__ import annotations

import os
from pathlib import Path

from featherlite.data.listing import Candidate, Listing
from featherlite.data.source import Scan, scan
from featherlite.data.sources import listing_of, sources
from featherlite.errors import DataError
from featherlite.step import Progress

__all__ = ["scan_unlabelled"]


def scan_unlabelled(root: Path, progress: Progress | None = None, cache: Path | None = None) -> Scan:
    """All readable photos under `root`, without labels (they are ''), and a fault for every other file.

    Raises:
        DataError: no such root, or no photo in it can be read.
    """
    hint = "Give a folder that holds photos, in folders or not, or a tar or Parquet file with photos inside."
    if not root.exists():
        raise DataError(f"unlabelled: {root}: no such folder or file.", hint)
    found = scan(root, progress, cache, strict=False, listing=_listing(root))
    if not found.photos:
        examples = "; ".join(f"{fault.path}: {fault.message}" for fault in found.faults[:3])
        seen = f" Files not used: {len(found.faults)}, such as {examples}." if found.faults else " It is empty."
        raise DataError(f"unlabelled: {root}: no photo in it can be used.{seen}", hint)
    return found


def _listing(root: Path) -> Listing:
    """Every file as a candidate without a label; what is inside containers as their layout lists it."""
    recognizing = next((source for source in sources() if source.recognizes(root)), None)
    if recognizing is None or recognizing is not sources()[-1]:
        listing = listing_of(root, strict=False)
        listing.candidates = [Candidate(one.path, "", one.base, container=one.container) for one in listing.candidates]
        listing.folders = {}
        return listing
    listing = Listing(root, "unlabelled")
    real = os.path.realpath(root)
    for folder, folders, files in os.walk(real):  # links are not followed: they could lead out, or in a circle
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(folder, name) for name in sorted(files) if not name.startswith(".")):
            shown = file.relative_to(real).as_posix()
            if file.is_symlink() or not file.is_file():
                listing.fault(shown, "not-a-file", "a link, device, pipe or socket, not a file")
            elif shown.encode("utf-8", "replace").decode("utf-8") != shown:
                listing.fault(shown, "bad-name", "the name is not UTF-8: rename it")
            else:
                listing.candidates.append(Candidate(shown, "", real))
    return listing
