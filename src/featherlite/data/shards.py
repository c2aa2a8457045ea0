"""Rows of numbers by the content they were made of, kept on the disk as memory-mapped shards.

A store is a folder of shards `<id>.npy` ([n, ...]), each with `<id>.txt`, the sha256 of the file behind every row. A
shard is written under a temporary name and renamed, and counts from the moment its .txt is there; nothing is changed
after that. So a killed build leaves whole shards that the next one goes on from, and builders side by side do no harm.
A store can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import storage_guard, write_atomically
from featherlite.errors import StorageError

__all__ = ["STALE_SECONDS", "open_shards", "ready_store", "write_shard"]

log = logging.getLogger("featherlite")

STALE_SECONDS = 3600
"""Leftovers of killed builders are deleted once they have not grown for this long."""

REFUSED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What the system says where too many files are open or mapped; a mapping keeps its file open."""

Shards = list[NDArray[Any]]
Places = dict[str, tuple[int, int]]


def open_shards(folder: Path, dtype: Any, row_shape: tuple[int, ...] | None = None) -> tuple[Shards, Places]:
    """All whole shards, mapped, and sha256 -> (shard, row). A damaged shard is deleted, to be made again.

    Rows have `row_shape`; where none is given, that of the first shard.

    Raises:
        StorageError: the process may not open or map as many files as there are shards.
    """
    shards: Shards = []
    rows: Places = {}
    for index in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        file = index.with_suffix(".npy")
        try:
            names = index.read_text("ascii").split()
            values = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
            wanted = row_shape if row_shape is not None else shards[0].shape[1:] if shards else values.shape[1:]
            if values.shape != (len(names), *wanted) or values.dtype != dtype:
                raise ValueError(f"{values.dtype} {values.shape} for {len(names)} rows")
        except (OSError, ValueError, EOFError) as error:
            if getattr(error, "errno", None) in REFUSED:  # says nothing of the shard, which must not be deleted for it
                raise StorageError(
                    f"{folder} holds more files than this process may open ({error}).", "Raise the limit: ulimit -n."
                ) from error
            log.warning("Cache %s is damaged and will be made again: %s.", file, error)
            with contextlib.suppress(OSError):
                index.unlink(missing_ok=True)
                file.unlink(missing_ok=True)
            continue
        rows.update({name: (len(shards), row) for row, name in enumerate(names)})
        shards.append(values)
    return shards, rows


def ready_store(folder: Path) -> None:
    """Makes the folder, and deletes what killed builders left in it: drafts, and shards that were never published.

    Raises:
        StorageError: it cannot be made.
    """
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        for file in folder.iterdir():
            unpublished = file.suffix == ".tmp" or (file.suffix == ".npy" and not file.with_suffix(".txt").exists())
            with contextlib.suppress(OSError):
                if unpublished and now - file.stat().st_mtime > STALE_SECONDS:
                    file.unlink()


def write_shard(
    folder: Path, names: Sequence[str], row_shape: tuple[int, ...], dtype: Any, blocks: Iterable[NDArray[Any]]
) -> None:
    """Writes one shard of `len(names)` rows, which come in blocks; whole or not at all.

    Raises:
        StorageError: it cannot be written, or the disk is full.
    """
    # Plain writes, not a writable mapping: on a full disk those raise an error, a mapping kills the process.
    final = folder / f"{uuid4().hex}.npy"
    draft = folder / f".{final.name}.tmp"
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": (len(names), *row_shape)}
    try:
        with storage_guard(folder), draft.open("wb") as stream:
            np.lib.format.write_array_header_2_0(stream, header)
            for block in blocks:
                stream.write(np.ascontiguousarray(block, dtype).data)
            stream.flush()
            os.fsync(stream.fileno())
        with storage_guard(folder):
            draft.rename(final)
            write_atomically(final.with_suffix(".txt"), "\n".join(names).encode("ascii"))
    except BaseException:
        for leftover in (draft, final):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        raise
