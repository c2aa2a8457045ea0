"""The representative set: training photos that stand for what the network will see while its ranges are measured.

Drawn from the training split alone, by seed and balanced over the classes, and identified by a hash of the photos'
contents, so that an artefact says which photos shaped it. Validation, calibration and test photos are never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.errors import DataError
from featherlite.step import Context

__all__ = ["Representative", "balanced_choice", "evenly", "representative_set", "set_hash"]


@dataclass(frozen=True)
class Representative:
    """The chosen photos: uint8 [n, height, width, 3], their paths and the hash of their contents."""

    photos: NDArray[np.uint8]
    paths: tuple[str, ...]
    seed: int
    hash: str

    def facts(self) -> dict[str, Any]:
        """The set as export.json records it."""
        return {"n": len(self.paths), "seed": self.seed, "hash": self.hash, "paths": list(self.paths)}


def balanced_choice(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` entries of `labels` (all, where there are fewer), sorted: int64.

    Classes are drawn from in turn, so their numbers differ by one at most until a class has no photo left.
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        of_class = shuffled[labels[shuffled] == label]
        rank[of_class] = np.arange(len(of_class))
    # First every class's first photo, then every class's second ...; within a round the order is again random.
    order = shuffled[np.argsort(rank[shuffled], kind="stable")]
    return np.sort(order[:count]).astype(np.int64)


def evenly(photos: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """At most `count` of the photos, evenly spaced: a set lies in the order of its classes, and all should be seen."""
    if count >= len(photos):
        return photos
    return photos[np.linspace(0, len(photos) - 1, count).round().astype(np.int64)]


def set_hash(digests: Iterable[str]) -> str:
    """The sha256 over the photos' own sha256s, in hex; the order of the photos does not matter."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def representative_set(
    bundle: Bundle, count: int, seed: int, ctx: Context, *, shows_ranges: bool = True
) -> Representative:
    """`count` training photos, class-balanced, preprocessed as the network wants them.

    A set that `shows_ranges` of activations and lacks classes earns a warning.

    Raises:
        DataError: the training split is empty, or the chosen photos are all of one plain color.
    """
    from featherlite.data.photos import load_photos
    from featherlite.data.splits import no_training_photos

    photos = load_photos(bundle, "train", ctx)
    if not len(photos.labels):
        raise no_training_photos("to draw a representative set from")
    chosen = balanced_choice(photos.labels, count, seed)
    shown, classes = len(np.unique(photos.labels[chosen])), len(bundle.labels)
    if shows_ranges and shown < classes:
        ctx.warn(
            f"The representative set, {len(chosen)} photos, shows {shown} of {classes} classes; "
            "ranges may be cut for those it lacks. Raise `photos`, or give more training photos."
        )
    pixels = np.asarray(photos.images[chosen])
    if (pixels == pixels[:1, :1, :1]).all():
        color = ", ".join(str(level) for level in pixels[0, 0, 0])
        raise DataError(
            f"All {len(chosen)} representative photos are of one color ({color}): they show no range.",
            "Check the training photos.",
        )
    paths = tuple(photos.paths[index] for index in chosen)
    return Representative(pixels, paths, seed, set_hash(_digests(bundle, paths)))


def _digests(bundle: Bundle, paths: Sequence[str]) -> list[str]:
    from featherlite.data.splits import read_splits

    splits = read_splits(bundle)
    known = dict(zip(splits.path, splits.sha256, strict=True))
    return [known[path] for path in paths]
