"""The photos of one split as arrays: what training, calibration and evaluation read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.data.cache import ShardedPixels, decoded
from featherlite.data.splits import SPLITS, read_splits
from featherlite.errors import BundleError, RequestError, did_you_mean
from featherlite.preprocess import Pixels, Preprocess
from featherlite.step import Context

__all__ = ["PhotoSet", "load_photos"]


@dataclass(frozen=True)
class PhotoSet:
    """One split: photos uint8 [n, height, width, 3], 0..255; class numbers int64 [n]; paths; class names.

    `images[indices]` copies a batch; on the disk they are memory-mapped, so a set may be larger than memory.
    """

    images: ShardedPixels | Pixels
    labels: NDArray[np.int64]
    paths: tuple[str, ...]
    classes: tuple[str, ...]
    split: str

    def __len__(self) -> int:
        return len(self.labels)


def load_photos(bundle: Bundle, split: str, ctx: Context, preprocess: Preprocess | None = None) -> PhotoSet:
    """The photos of a split, decoded once and cached under `ctx.cache`; of length 0 where the split is empty.

    `ctx.opened` tells of it.

    Raises:
        RequestError: there is no such split, or photos must be decoded and none were given.
        BundleError: the bundle's table of splits and its labels do not fit.
        DataError: a photo is missing, or is not the one that was split.
        StorageError: the cache cannot be written.
    """
    if split not in SPLITS:
        raise RequestError(f"There is no split '{split}'.", did_you_mean(split, SPLITS))
    rows = read_splits(bundle).of(split)
    classes = tuple(label.name for label in bundle.labels)
    number = {name: place for place, name in enumerate(classes)}
    unknown = sorted(set(rows.label) - set(number))
    if unknown:
        raise BundleError(
            f"The splits name the class '{unknown[0]}', and labels.json does not.", "Run the split again."
        )
    images = decoded(
        list(zip(rows.path, rows.sha256, strict=True)),
        ctx.data,
        preprocess or bundle.preprocess,
        ctx.cache,
        ctx.progress,
    )
    ctx.opened.add(split)
    labels = np.array([number[label] for label in rows.label], np.int64)
    return PhotoSet(images, labels, rows.path, classes, split)
