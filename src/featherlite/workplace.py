"""Where a step is at work: how long it has been at it, and the folder for it, whatever killed the processes before."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from featherlite.bundle import storage_guard, write_atomically

__all__ = ["WORK", "Stopwatch", "work_folder"]

EVERY: Final = 15.0
"""Seconds between two notes of the time: what a kill may lose of it."""

WORK: Final = ".featherlite.work-"
"""How the names of work folders begin."""


class Stopwatch:
    """Seconds that went into a step, over all processes that were at work on it.

    They are noted in a file every `EVERY` seconds and at the end, so that a killed process leaves them to the next.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = _noted(file)
        self._since = time.monotonic()
        self._over = threading.Event()
        self._notes = threading.Thread(target=self._note_on, name="stopwatch", daemon=True)

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        return self._before + time.monotonic() - self._since

    def __enter__(self) -> Self:
        self._notes.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._notes.join()
        self._note()

    def _note_on(self) -> None:
        while not self._over.wait(EVERY):
            self._note()

    def _note(self) -> None:
        with contextlib.suppress(OSError):  # on a full disk the work itself decides whether it can go on
            write_atomically(self._file, f"{self.seconds:.3f}\n".encode())


def _noted(file: Path) -> float:
    """The seconds that a file tells of; none where it is absent or damaged."""
    try:
        seconds = float(file.read_text("ascii"))
    except (OSError, ValueError):
        return 0.0
    return seconds if 0 <= seconds < math.inf else 0.0


@contextlib.contextmanager
def work_folder(beside: Path) -> Iterator[Path]:
    """A new folder within `beside`, which is gone afterwards; those that killed processes left there are swept.

    Its process holds a lock on the folder, which falls with it, so that what is in use is never swept.

    Raises:
        StorageError: `beside` cannot be written.
    """
    for stale in beside.glob(f"{WORK}*"):
        with contextlib.suppress(OSError):  # in use, somebody else's, or swept by another process meanwhile
            handle = os.open(stale, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(stale, ignore_errors=True)
            finally:
                os.close(handle)
    with storage_guard(beside):
        work, handle = _locked_folder(beside)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)


def _locked_folder(beside: Path) -> tuple[Path, int]:
    """A new folder and the handle that holds its lock."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=WORK, dir=beside))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(work, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if work.exists():
                return work, handle
            os.close(handle)  # another process swept it before it was locked: it looked like one without an owner
