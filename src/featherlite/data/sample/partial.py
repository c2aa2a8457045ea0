"""A folder that appears under its name only once it is complete, and the sweeping of those never completed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def partial_folder(out: Path) -> Iterator[Path]:
    """A new hidden folder beside `out` to fill and then rename; gone at the end unless it was renamed.

    The folder is locked while it is in use. The lock falls with its process, however that ends, so what a killed one
    left beside the same `out` is told from what another is filling right now, and is swept here first.

    Raises:
        OSError: no folder can be made there.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    while True:
        folder = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        lock = _lock(folder, wait=True)
        if folder.is_dir():
            break
        _release(lock)  # another process took it for a stale one before it was locked: make another
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _release(lock)


def _sweep(out: Path) -> None:
    """Removes the partial folders of `out` that no living process has locked."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.partial-[0-9a-f]{{8}}")
    try:
        stales = [path for path in out.parent.iterdir() if ours.fullmatch(path.name)]
    except OSError:  # a folder that may be written and not listed
        return
    for stale in stales:
        lock = _lock(stale, wait=False)
        if lock is not None:
            shutil.rmtree(stale, ignore_errors=True)
        _release(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """The open, locked folder, or None: it is no folder, cannot be locked, or without `wait` another has it.

    The folder itself is locked, not a file in it: nothing has to be cleared away before the renaming. Where folders
    cannot be locked (some network drives) nobody holds a lock and nobody sweeps.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
