"""A teacher's word on every photo under every view: asked once, kept on the disk in float16, found again after a kill.

One store (data/shards.py) for each teacher, set of photos and way of augmenting them. A row of a shard is the word on a
block of photos under one view, named `view.block.checksum.shard`: a block whose numbers are not those that were written
counts as missing and is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from featherlite.data.pool import chunks
from featherlite.data.shards import open_shards, ready_store, write_shard
from featherlite.errors import StorageError, TrainingError
from featherlite.step import Progress
from featherlite.training.augment.config import AugmentConfig
from featherlite.training.teachers.teacher import Teacher
from featherlite.training.teachers.views import ViewedPhotos

__all__ = ["BLOCK", "Answers", "Asking", "store_folder"]

BLOCK = 64
"""Photos that a teacher answers at once."""
SHARD = 16
"""Blocks to a shard, at least: what a kill loses."""
SHARDS = 256
"""Shards that one asking makes, at most: each is an open file for as long as it is read from."""
SPARED = 0.95
"""Share of the free disk that the store may take."""

Words = NDArray[np.float16]
Place = tuple[int, int]


class Asking:
    """One teacher in front of the photos: its logits and features as asked for, float16 [b, d], side by side."""

    def __init__(self, teacher: Teacher, photos: ViewedPhotos, *, logits: bool, features: bool) -> None:
        self.teacher, self.photos = teacher, photos
        self.logits = len(teacher.facts.labels) if logits else 0
        self.features = teacher.facts.features if features else 0

    @property
    def width(self) -> int:
        """Numbers a photo."""
        return self.logits + self.features

    def __call__(self, rows: NDArray[np.int64], view: int) -> Words:
        """Its word on the photos of these rows under a view: float16 [b, width].

        Raises:
            TrainingError: some of it is no number, or too large for float16.
        """
        answer = self.teacher.answer(self.photos(rows, view))
        parts = [answer.logits] * bool(self.logits) + [answer.features] * bool(self.features)
        with np.errstate(over="ignore"):
            words = np.concatenate(parts, axis=1).astype(np.float16)
        if not np.isfinite(words).all():
            raise TrainingError(
                f"The teacher {self.teacher.facts.name} answers some photos with values that are not numbers, or not "
                "within +-65504.",
                "Check it with the step 'evaluate', or take another teacher.",
            )
        return words


class Answers:
    """The stored word of one teacher: `answers(rows, view)`, float16 [b, width]."""

    def __init__(self, asking: Asking, folder: Path, views: int) -> None:
        self.asking, self.folder, self.views = asking, folder, views
        self.blocks = -(-len(asking.photos) // BLOCK)
        self._known: dict[Place, Words] = {}

    def __call__(self, rows: NDArray[np.int64], view: int) -> Words:
        """As `Asking`, from the store."""
        words = np.empty((len(rows), self.asking.width), np.float16)
        blocks = rows // BLOCK
        for block in np.unique(blocks).tolist():
            here = blocks == block
            words[here] = self._known[view, block][rows[here] % BLOCK]
        return words

    def build(self, progress: Progress) -> int:
        """Asks the teacher for what the store lacks, and returns how many photos and views that were.

        Raises:
            StorageError: the disk is too small, or not writable; nothing half-written is left.
            TrainingError: the teacher's word is no number.
        """
        self._known = self._stored()
        wanted = [(view, block) for view in range(self.views) for block in range(self.blocks)]
        missing = [place for place in wanted if place not in self._known]
        if not missing:
            return 0
        self._refuse_small_disk(len(missing))
        ready_store(self.folder)
        photos = sum(len(self._rows(block)) for _, block in missing)
        progress.start(f"Asking the teacher {self.asking.teacher.facts.name}", photos)
        for part in chunks(missing, max(SHARD, -(-len(missing) // SHARDS))):
            self._write(part, progress)
        progress.finish()
        self._known = self._stored()
        return photos

    def _write(self, part: Sequence[Place], progress: Progress) -> None:
        words, names, shard = [], [], uuid4().hex[:8]  # so that a block that is made again hides behind no damaged one
        for view, block in part:
            rows = self._rows(block)
            asked = np.resize(rows, BLOCK)  # filled up, so that every block has one shape
            words.append(self.asking(asked, view))
            names.append(f"{view}.{block}.{zlib.crc32(words[-1].tobytes()):08x}.{shard}")
            progress.advance(len(rows))
        write_shard(self.folder, names, words[0].shape, np.float16, [np.stack(words)])

    def _stored(self) -> dict[Place, Words]:
        shards, places = open_shards(self.folder, np.float16, (BLOCK, self.asking.width))
        known: dict[Place, Words] = {}
        for name, (shard, row) in places.items():
            words = shards[shard][row]
            place = _place(name, words)
            if place is not None:
                known[place] = words
        return known

    def _rows(self, block: int) -> NDArray[np.int64]:
        return np.arange(block * BLOCK, min((block + 1) * BLOCK, len(self.asking.photos)), dtype=np.int64)

    def _refuse_small_disk(self, blocks: int) -> None:
        needed = blocks * BLOCK * self.asking.width * 2
        there = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        free = shutil.disk_usage(there).free
        if needed > SPARED * free:
            raise StorageError(
                f"The word of the teacher {self.asking.teacher.facts.name} on {len(self.asking.photos)} photos under "
                f"{self.views} views takes {needed / 1e6:,.0f} MB, and {there} has {free / 1e6:,.0f} MB free.",
                "Take fewer views, or views=0, which keeps nothing; or set FEATHERLITE_CACHE to another disk.",
            )


def store_folder(cache: Path, asking: Asking, photos: Sequence[str], preprocess: str, seed: int) -> Path:
    """Where this word is kept: by teacher, contents of the photos in their order, preprocessing, augmentation, seed."""
    augmentation = {name: getattr(asking.photos.config, name) for name in AugmentConfig.model_fields}
    told = [1, asking.teacher.facts.identity, asking.logits, asking.features, preprocess, augmentation, seed, *photos]
    return cache / "teachers" / hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _place(name: str, words: Words) -> Place | None:
    """View and block of a stored row; None where the name or the numbers are not what was written."""
    parts = name.split(".")
    if len(parts) != 4 or not parts[0].isdigit() or not parts[1].isdigit():
        return None
    return (int(parts[0]), int(parts[1])) if f"{zlib.crc32(words.tobytes()):08x}" == parts[2] else None
