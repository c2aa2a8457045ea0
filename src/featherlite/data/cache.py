"""Decoded photos, kept as memory-mapped uint8 shards: epochs cost no decoding, and no more memory than a batch.

One store (shards.py) for each preprocessing, `photos/<hash of the contract>/`, with rows uint8 [height, width, 3]: all
splits and subsets of the same photos share their pixels.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from featherlite.data.pool import chunks, in_order
from featherlite.data.reader import PhotoReader, ReadError
from featherlite.data.shards import open_shards, ready_store, write_shard
from featherlite.errors import DataError
from featherlite.preprocess import PhotoError, Pixels, Preprocess
from featherlite.step import Progress

__all__ = ["CHUNK", "ShardedPixels", "decoded", "decoded_stream", "store_folder"]

SHARD_BYTES = 256 * 2**20
"""Photos are published in shards of at most this size: what a killed build loses, and what one mapping spans."""

CHUNK = 32

Index = NDArray[np.int64]


class ShardedPixels:
    """Decoded photos as one array-like: uint8 [n, height, width, 3], 0..255, read from the disk as they are indexed."""

    dtype = np.dtype(np.uint8)

    def __init__(self, shards: Sequence[Pixels], shard: Index, row: Index, shape: tuple[int, int, int]) -> None:
        self._shards = tuple(shards)
        self._shard = shard
        self._row = row
        self.shape = (len(row), *shape)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, indices: Index | slice | Sequence[int]) -> Pixels:
        """The chosen photos, copied: uint8 [b, height, width, 3].

        Raises:
            IndexError: an index is out of range.
        """
        shard, row = self._shard[indices], self._row[indices]
        if np.ndim(row) != 1:
            raise IndexError("photos are indexed by a slice or by a list of numbers")
        batch = np.empty((len(row), *self.shape[1:]), np.uint8)
        for place, (number, at) in enumerate(zip(shard.tolist(), row.tolist(), strict=True)):
            batch[place] = self._shards[number][at]
        return batch


def store_folder(cache: Path, preprocess: Preprocess) -> Path:
    """Where pixels of this preprocessing are kept. Pillow's version counts: its decoders change now and then."""
    contract = f"1/{PIL.__version__}/{preprocess.model_dump_json()}"
    return cache / "photos" / hashlib.sha256(contract.encode()).hexdigest()[:16]


def decoded(
    photos: Sequence[tuple[str, str]], root: Path | None, preprocess: Preprocess, cache: Path, progress: Progress
) -> ShardedPixels:
    """The pixels of `photos` ((path, sha256) each), in their order. What the store lacks is decoded from under `root`.

    Raises:
        DataError: a photo is missing, was changed since its sha256 was taken, or cannot be decoded.
        StorageError: the cache cannot be written, or its disk is full; nothing half-written is left.
    """
    folder = store_folder(cache, preprocess)
    shape = (preprocess.height, preprocess.width, 3)
    shards, rows = open_shards(folder, np.uint8, shape)
    missing = list({sha256: (path, sha256) for path, sha256 in reversed(photos) if sha256 not in rows}.values())[::-1]
    if missing:
        if root is None:
            raise DataError(
                f"{len(missing)} photos are not in the cache, and no photos were given.", "Add --data FOLDER."
            )
        _build(missing, root, preprocess, folder, progress)
        shards, rows = open_shards(folder, np.uint8, shape)
    places = np.array([rows[sha256] for _, sha256 in photos], np.int64).reshape(-1, 2)
    return ShardedPixels(shards, places[:, 0].copy(), places[:, 1].copy(), shape)


def decoded_stream(
    photos: Sequence[tuple[str, str]], reader: PhotoReader, preprocess: Preprocess
) -> Generator[Pixels, None, None]:
    """The pixels of `photos` ((path, sha256) each) in blocks of at most CHUNK, in their order; nothing is stored.

    Raises:
        DataError: as `decoded`.
    """

    def decode_all(part: Sequence[tuple[str, str]]) -> Pixels:
        return np.stack([_decode(reader, path, sha256, preprocess) for path, sha256 in part])

    with contextlib.closing(in_order(decode_all, chunks(photos, CHUNK))) as blocks:
        yield from blocks


def _build(
    photos: Sequence[tuple[str, str]], root: Path, preprocess: Preprocess, folder: Path, progress: Progress
) -> None:
    """Decodes photos into new shards."""
    reader = PhotoReader(root)
    _refuse_missing(photos, reader)
    per_shard = max(CHUNK, SHARD_BYTES // (preprocess.height * preprocess.width * 3))
    ready_store(folder)
    progress.start(f"Decoding photos to {preprocess.width}x{preprocess.height}", len(photos))
    with reader:
        for part in chunks(photos, per_shard):
            with contextlib.closing(decoded_stream(part, reader, preprocess)) as blocks:
                names = [sha256 for _, sha256 in part]
                shape = (preprocess.height, preprocess.width, 3)
                write_shard(folder, names, shape, np.uint8, _told(blocks, progress))
    progress.finish()


def _told(blocks: Iterator[Pixels], progress: Progress) -> Iterator[Pixels]:
    for block in blocks:
        yield block
        progress.advance(len(block))


def _refuse_missing(photos: Sequence[tuple[str, str]], reader: PhotoReader) -> None:
    gone = [path for path, _ in photos if reader.locate(path) is None]
    if gone:
        shown = ", ".join(f"'{path}'" for path in gone[:5])
        raise DataError(
            f"{len(gone)} photos of the split are not under {reader.root}: {shown}{' ...' if len(gone) > 5 else ''}.",
            "Give the folder that was split as --data, or split again.",
        )


def _decode(reader: PhotoReader, path: str, sha256: str, preprocess: Preprocess) -> Pixels:
    where = f"'{path}' under {reader.root}"
    try:
        content = reader.read(path)
    except ReadError as error:
        raise DataError(f"{where}: {error.why}.", error.hint) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{where} is not the photo that was split: its content changed.", "Split again.")
    try:
        return preprocess(content)
    except PhotoError as error:
        raise DataError(f"{where}: {error.why}.", "Remove it and split again.") from None
