"""Where a step is at work: how long it has been at it, whatever killed the processes before."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from featherlite.bundle import write_atomically

__all__ = ["Stopwatch"]

EVERY: Final = 15.0
"""Seconds between two notes of the time: what a kill may lose of it."""


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
