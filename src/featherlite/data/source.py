"""The photos of a folder or CSV, each proven readable, and a fault for every file that is not used.

Every photo is read and decoded once; the verdict on it and what the decode found out, its look, are remembered
(memo.py): a repeated scan costs one stat a photo.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherlite.data.listing import LAYOUT_HINT, Candidate, Fault, Listing
from featherlite.data.look import look_dtype
from featherlite.data.memo import FileFacts, Memo, Verdict
from featherlite.data.pool import chunks
from featherlite.data.reading import judge_photos
from featherlite.data.sources import listing_of
from featherlite.errors import DataError
from featherlite.step import Progress, Silent

__all__ = ["Fault", "Photo", "Scan", "refuse_too_few", "scan"]

RECALLED = 4096
"""Verdicts asked of the memo at once."""

KEEP_EVERY = 64
"""Chunks between two writes of the memo: what a killed scan loses at most."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One readable photo. `path` is relative to the root, POSIX; absolute only where a CSV named it so."""

    path: str
    label: str
    sha256: str
    bytes: int
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Scan:
    """What a root holds: photos and faults, both sorted by path. `layout` is folders, splits or csv.

    `looks` is what one decode of each photo found out, one row a photo (data/look.py).
    """

    root: Path
    layout: str
    photos: tuple[Photo, ...]
    faults: tuple[Fault, ...]
    looks: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, look_dtype()), compare=False, repr=False)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class names that have photos, sorted by code point."""
        return tuple(sorted({photo.label for photo in self.photos}))

    @cached_property
    def digest(self) -> str:
        """sha256 in hex over path, content, label, given split and group of all photos."""
        total = hashlib.sha256()
        for photo in self.photos:
            fields = (photo.path, photo.sha256, photo.label, photo.split or "", photo.group or "")
            total.update("\0".join(fields).encode() + b"\n")
        return total.hexdigest()

    def faults_by_reason(self) -> dict[str, int]:
        """How many faults there are of each reason, most frequent first."""
        return dict(Counter(fault.reason for fault in self.faults).most_common())


def scan(
    root: Path,
    progress: Progress | None = None,
    cache: Path | None = None,
    *,
    strict: bool = True,
    listing: Listing | None = None,
) -> Scan:
    """All photos under `root` (a folder, table or container) and all faults. Verdicts are remembered under `cache`.

    `strict` asks for photos that a classifier can be made of; an audit looks at others too. `listing` is what the root
    holds where that is known already.

    Raises:
        DataError: no such root, or in no known layout; where strict: no photo can be read, fewer than two classes have
            photos, or class names cannot be told apart.
    """
    listing = listing or listing_of(root, strict=strict)
    candidates = sorted(listing.candidates, key=lambda candidate: candidate.path)
    verdicts = _verdicts(root, candidates, cache, progress or Silent())
    photos: list[Photo] = []
    sizes = verdicts.looks["bytes"].tolist()
    for candidate, size, verdict in zip(candidates, sizes, verdicts.found, strict=True):
        if verdict.reason:
            listing.fault(candidate.path, verdict.reason, verdict.why)
        else:
            where = (candidate.path, candidate.label, verdict.sha256, size, candidate.split, candidate.group)
            photos.append(Photo(*where))
    looks = _compacted(verdicts.looks, np.array([not verdict.reason for verdict in verdicts.found], bool))
    used = {photo.label for photo in photos}
    for folder, label in listing.folders.items():
        if label not in used:
            listing.fault(folder, "empty-class", f"class '{label}' has no readable photo and is left out")
    faults = tuple(sorted(set(listing.faults)))
    if strict:
        refuse_too_few(root, used, faults)
    return Scan(root, listing.layout, tuple(photos), faults, looks)


def refuse_too_few(root: Path, used: set[str], faults: tuple[Fault, ...]) -> None:
    """Makes sure that two classes or more are used.

    Raises:
        DataError: fewer are; what was not used is told.
    """
    if len(used) >= 2:
        return
    examples = "; ".join(f"{fault.path}: {fault.message}" for fault in faults[:3])
    seen = f" Files not used: {len(faults)}, such as {examples}." if faults else ""
    if not used:
        raise DataError(f"{root}: no photo in it can be used.{seen}", LAYOUT_HINT)
    raise DataError(
        f"{root}: only one class ('{next(iter(used))}') has photos, and a classifier needs two or more.{seen}",
        LAYOUT_HINT,
    )


# ---- reading -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdicts:
    """What was found out about each candidate: its verdict and its look."""

    found: list[Verdict]
    looks: NDArray[np.void]


def _verdicts(root: Path, candidates: Sequence[Candidate], cache: Path | None, progress: Progress) -> Verdicts:
    """Every candidate's verdict, from the memo or by reading it; looks go straight into their array."""
    unknown = Verdict("")
    all_of_them = Verdicts([unknown] * len(candidates), np.zeros(len(candidates), look_dtype()))

    def settle(number: int, verdict: Verdict) -> None:
        if verdict.look:
            all_of_them.looks[number] = np.frombuffer(verdict.look, look_dtype())[0]
        all_of_them.found[number] = verdict.without_look()

    with Memo(cache) as memo:
        unread: list[int] = []
        for part in chunks(range(len(candidates)), RECALLED):
            facts = [_stat(candidates[number].file) for number in part]
            there = [(number, fact) for number, fact in zip(part, facts, strict=True) if fact is not None]
            known = memo.recall([(candidates[number].place, fact) for number, fact in there])
            fresh = {number for number, fact in zip(part, facts, strict=True) if fact is None}
            for (number, _), verdict in zip(there, known, strict=True):
                if verdict is None:
                    fresh.add(number)
                else:
                    settle(number, verdict)
            unread += sorted(fresh)  # one that is gone since it was listed is read too: reading it says so
        progress.start("Reading photos", len(unread))
        found: list[tuple[str, FileFacts, Verdict]] = []
        place = 0
        with contextlib.closing(judge_photos(root, [candidates[number].path for number in unread])) as blocks:
            for turn, block in enumerate(blocks, 1):
                for number, (read, verdict) in zip(unread[place : place + len(block)], block, strict=True):
                    settle(number, verdict)
                    if read is not None:
                        found.append((candidates[number].place, read, verdict))
                place += len(block)
                progress.advance(len(block))
                if turn % KEEP_EVERY == 0:
                    memo.keep(found)
                    found.clear()
        memo.keep(found)
        progress.finish()
    return all_of_them


def _stat(file: str) -> FileFacts | None:
    try:
        return FileFacts.of(os.stat(file))  # noqa: PTH116  (a million Path objects cost more)
    except OSError:
        return None


def _compacted(looks: NDArray[np.void], kept: NDArray[np.bool_]) -> NDArray[np.void]:
    """The kept rows, moved forward in place: a million looks are not held twice."""
    if kept.all():
        return looks
    end = 0
    for start in range(0, len(looks), RECALLED):
        rows = looks[start : start + RECALLED][kept[start : start + RECALLED]]
        looks[end : end + len(rows)] = rows
        end += len(rows)
    return looks[:end]
