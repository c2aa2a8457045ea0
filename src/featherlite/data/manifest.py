"""A list of photos as a CSV that every command takes as its DATA."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from featherlite.bundle import storage_guard, write_atomically
from featherlite.data.source import Photo
from featherlite.errors import RequestError

__all__ = ["PHOTOS", "write_manifest"]

PHOTOS, DECISIONS = "photos.csv", "decisions.csv"


def write_manifest(out: Path, root: Path, photos: Sequence[Photo], decisions: bytes) -> None:
    """Writes `out/photos.csv`, which names the photos that lie under `root`, and `out/decisions.csv`.

    Paths are relative to `out`, so both may be moved together.

    Raises:
        RequestError: `out` lies within the photos, or `root` is the very table that would be written.
        StorageError: it cannot be written.
    """
    base = root.parent if root.is_file() else root
    if root.is_file() and (out / PHOTOS).resolve() == root.resolve():
        raise RequestError(
            f"{root} is the list of photos that was read: it is not written over.", "Give another --out."
        )
    if out.absolute().is_relative_to(base.absolute()) and root.is_dir():
        raise RequestError(f"{out} lies within the photos ({root}).", "Give an --out elsewhere.")
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(("path", "label", "split", "group"))
    there = os.path.relpath(base.resolve(), out.resolve())
    for photo in photos:
        path = photo.path if Path(photo.path).is_absolute() else Path(there, photo.path).as_posix()
        writer.writerow((path, photo.label, photo.split or "", photo.group or ""))
    with storage_guard(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / DECISIONS, decisions)
        write_atomically(out / PHOTOS, sink.getvalue().encode("utf-8"))
