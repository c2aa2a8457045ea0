"""What earlier scans found out about each file, so that a repeated scan costs one stat a photo.

One SQLite file, safe to delete. A memo that cannot be read or written is done without: it saves time, nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from featherlite.data.look import look_dtype, look_version

__all__ = ["FileFacts", "Memo", "Verdict"]

log = logging.getLogger("featherlite")

TABLE = """
CREATE TABLE IF NOT EXISTS looks (
    file BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, look_version TEXT,
    sha256 TEXT, reason TEXT, why TEXT, look BLOB
)
"""


class FileFacts(NamedTuple):
    """What tells whether a file is still the same: size in bytes, times of modification and change in nanoseconds."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        """Those of a file that was looked at."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a file's content is: its sha256; its look, or, where it is no photo, the reason why."""

    sha256: str
    reason: str = ""
    why: str = ""
    look: bytes = b""

    def without_look(self) -> Verdict:
        """The same verdict with the look left out, for where that is kept elsewhere."""
        return replace(self, look=b"")


class Memo:
    """Verdicts by (absolute path, size, modification and change time)."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "scan.sqlite" if folder is not None else None
        self._store: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connect(self._path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, full or not writable: not damaged
                    raise
                self._path.unlink()
                self._connect(self._path)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def recall(self, files: Sequence[tuple[str, FileFacts]]) -> list[Verdict | None]:
        """For each file the verdict on this very content, or None where it has to be read (again)."""
        nothing: list[Verdict | None] = [None] * len(files)
        if self._store is None:
            return nothing
        query = (
            "SELECT sha256, reason, why, look FROM looks WHERE file = ? AND size = ? AND mtime_ns = ?"
            " AND ctime_ns = ? AND look_version = ?"
        )
        found: list[Verdict | None] = []
        try:
            self._store.execute("BEGIN")  # one lock for all: several times as fast
            for file, facts in files:
                key = (os.fsencode(file), *facts, look_version())
                row = self._store.execute(query, key).fetchone()
                whole = row is not None and (row[1] or len(row[3]) == look_dtype().itemsize)
                found.append(Verdict(*row) if whole else None)
            self._store.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
            return nothing
        return found

    def keep(self, found: Iterable[tuple[str, FileFacts, Verdict]]) -> None:
        """Stores verdicts, all or none."""
        if self._store is None:
            return
        rows = [
            (
                *(os.fsencode(file), *facts, look_version()),
                *(verdict.sha256, verdict.reason, verdict.why, verdict.look),
            )
            for file, facts, verdict in found
        ]
        try:
            with self._store:
                self._store.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def _connect(self, path: Path) -> None:
        store = sqlite3.connect(path, timeout=30)
        try:
            store.execute("PRAGMA synchronous = OFF")  # after a power cut the file may be damaged; then it is remade
            store.execute(TABLE)
        except sqlite3.Error:
            store.close()
            raise
        self._store = store

    def _give_up(self, error: Exception) -> None:
        log.warning("The memo of scanned photos, %s, is not used: %s.", self._path, error)
        with contextlib.suppress(sqlite3.Error):
            self.__exit__()
