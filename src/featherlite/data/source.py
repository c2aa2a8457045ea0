"""The photos of a folder or CSV, each proven readable, and a fault for every file that is not used.

Every photo is read to its last byte once and its verdict remembered (memo.py): a repeated scan costs one stat a photo.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from featherlite.data.folders import list_folder
from featherlite.data.listing import LAYOUT_HINT, Candidate, Fault, Listing, refuse_alike
from featherlite.data.memo import Memo, Verdict
from featherlite.data.pool import chunks, in_order
from featherlite.data.table import list_table
from featherlite.errors import DataError
from featherlite.preprocess import PhotoError, check
from featherlite.step import Progress, Silent

__all__ = ["Fault", "Photo", "Scan", "scan"]

MAX_BYTES = 512 * 2**20
"""Files larger than this are no photos; they are not read."""

CHUNK = 32
KEEP_EVERY = 64
"""Chunks between two writes of the memo: what a killed scan loses at most."""


@dataclass(frozen=True)
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
    """What a root holds: photos and faults, both sorted by path. `layout` is folders, splits or csv."""

    root: Path
    layout: str
    photos: tuple[Photo, ...]
    faults: tuple[Fault, ...]

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


def scan(root: Path, progress: Progress | None = None, cache: Path | None = None) -> Scan:
    """All photos under `root` (a folder or a CSV) and all faults. Verdicts are remembered under `cache`.

    Raises:
        DataError: no such folder; empty; no photo can be read; fewer than two classes have photos; class names that
            cannot be told apart; a CSV that cannot be understood.
    """
    listing = _list(root)
    verdicts = _verdicts(listing.candidates, cache, progress or Silent())
    photos: list[Photo] = []
    for candidate, size, verdict in verdicts:
        if verdict.reason:
            listing.fault(candidate.path, verdict.reason, verdict.why)
        else:
            where = (candidate.path, candidate.label, verdict.sha256, size, candidate.split, candidate.group)
            photos.append(Photo(*where))
    used = {photo.label for photo in photos}
    for folder, label in listing.folders.items():
        if label not in used:
            listing.fault(folder, "empty-class", f"class '{label}' has no readable photo and is left out")
    faults = tuple(sorted(set(listing.faults)))
    _refuse_too_few(root, used, faults)
    return Scan(root, listing.layout, tuple(sorted(photos, key=lambda photo: photo.path)), faults)


def _list(root: Path) -> Listing:
    try:
        is_file, exists = root.is_file(), root.exists()
    except (OSError, ValueError) as error:
        raise DataError(f"{root} cannot be read: {error}.", "Check its name and permissions.") from None
    if not exists:
        raise DataError(f"{root}: no such folder or file.", LAYOUT_HINT)
    if is_file and root.suffix.casefold() != ".csv":
        raise DataError(f"{root} is a file, and not a .csv.", LAYOUT_HINT)
    listing = list_table(root) if is_file else list_folder(root)
    refuse_alike({*listing.folders.values(), *(candidate.label for candidate in listing.candidates)})
    return listing


def _refuse_too_few(root: Path, used: set[str], faults: tuple[Fault, ...]) -> None:
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

Judged = tuple[Candidate, int, Verdict]


def _verdicts(candidates: Sequence[Candidate], cache: Path | None, progress: Progress) -> list[Judged]:
    """Every candidate with its size and verdict, from the memo or by reading it."""
    judged: list[Judged] = []
    unread: list[Candidate] = []
    with Memo(cache) as memo:
        there: list[tuple[Candidate, os.stat_result]] = []
        for candidate in candidates:
            try:
                there.append((candidate, os.stat(candidate.file)))  # noqa: PTH116  (a million Path objects cost more)
            except OSError:
                unread.append(candidate)  # gone since it was listed: reading it says so
        known = memo.recall([(candidate.file, facts) for candidate, facts in there])
        for (candidate, facts), verdict in zip(there, known, strict=True):
            if verdict is None:
                unread.append(candidate)
            else:
                judged.append((candidate, facts.st_size, verdict))
        progress.start("Reading photos", len(unread))
        fresh: list[tuple[str, os.stat_result, Verdict]] = []
        for number, part in enumerate(in_order(_read_all, chunks(unread, CHUNK)), 1):
            for candidate, read, fresh_verdict in part:
                judged.append((candidate, read.st_size if read else 0, fresh_verdict))
                if read is not None:
                    fresh.append((candidate.file, read, fresh_verdict))
            progress.advance(len(part))
            if number % KEEP_EVERY == 0:
                memo.keep(fresh)
                fresh.clear()
        memo.keep(fresh)
        progress.finish()
    return judged


def _read_all(candidates: Sequence[Candidate]) -> list[tuple[Candidate, os.stat_result | None, Verdict]]:
    return [(candidate, *_read(candidate.file)) for candidate in candidates]


def _read(file: str) -> tuple[os.stat_result | None, Verdict]:
    """The verdict on one file, with the facts of the very file that was read; no facts where the disk was at fault."""
    try:
        with Path(file).open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_size > MAX_BYTES:
                return facts, Verdict("", "too-large", f"{facts.st_size} bytes, at most {MAX_BYTES} allowed")
            content = stream.read()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        return None, Verdict("", "missing" if gone else "unreadable", f"cannot be read ({error.strerror})")
    digest = hashlib.sha256(content).hexdigest()
    try:
        check(content)
    except PhotoError as error:
        remembered = facts if error.reason != "unreadable" else None  # out of memory today is not so tomorrow
        return remembered, Verdict(digest, error.reason, error.why)
    return facts, Verdict(digest)
