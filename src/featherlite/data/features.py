"""Features of photos by a frozen network, or hand-made ones where there are no weights; kept on the disk by content.

One store (shards.py) for each kind of features, `features/<hash of the kind>/`, with rows float32 [d]: a photo passes
through a network once, whatever its path, label or set.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data import handmade
from featherlite.data.cache import CHUNK, decoded_stream
from featherlite.data.pool import chunks
from featherlite.data.reader import PhotoReader
from featherlite.data.shards import open_shards, ready_store, write_shard
from featherlite.errors import DataError, RequestError
from featherlite.preprocess import Pixels, Preprocess, network_input
from featherlite.step import Progress

__all__ = [
    "BACKBONE",
    "HANDMADE",
    "FeatureKind",
    "ShardedFeatures",
    "best_features",
    "feature_kind",
    "is_weak",
    "photo_features",
]

log = logging.getLogger("featherlite")

BACKBONE = "MobileNetV2"
PX = 224
SHARD = 128 * CHUNK
"""Photos to a shard: what a killed pass loses at most."""

Extract = Callable[[Pixels], NDArray[np.float32]]


@dataclass(frozen=True)
class FeatureKind:
    """Which features: `name` for people, `identity` for the store, and the size of the photos that they are made of.

    `weights` is 'none' for hand-made features, else 'imagenet' or a file; `weak` ones show coarse faults only.
    """

    name: str
    identity: str
    px: int
    weights: str

    @property
    def weak(self) -> bool:
        """Whether they come without trained weights."""
        return self.weights == "none"


HANDMADE = FeatureKind("hand-made color and edge histograms (weak)", "handmade/1", handmade.PX, "none")


class ShardedFeatures:
    """Features as one array-like: float32 [n, d], read from the disk as they are indexed; `kind` tells whose."""

    dtype = np.dtype(np.float32)

    def __init__(self, kind: FeatureKind, shards: Sequence[NDArray[np.float32]], places: NDArray[np.int64]) -> None:
        self.kind = kind
        self._shards = tuple(shards)
        self._places = places
        self.shape = (len(places), shards[0].shape[1] if shards else 0)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """The chosen rows, copied: float32 [m, d]."""
        places = self._places[rows]
        found = np.empty((len(places), self.shape[1]), np.float32)
        for number in np.unique(places[:, 0]).tolist():
            here = places[:, 0] == number
            found[here] = self._shards[number][places[here, 1]]
        return found


def is_weak(features: object) -> bool:
    """Whether features are known to come without trained weights."""
    return isinstance(features, ShardedFeatures) and features.kind.weak


def feature_kind(weights: str = "imagenet", px: int = PX) -> FeatureKind:
    """The features by MobileNetV2 with the weights 'imagenet' or those of a file; hand-made ones for 'none'.

    Raises:
        RequestError: there is no such file.
    """
    if weights == "none":
        return HANDMADE
    if weights == "imagenet":
        return FeatureKind(f"{BACKBONE}, ImageNet weights, {px} px", f"{BACKBONE}/imagenet/{px}", px, weights)
    try:
        with Path(weights).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RequestError(
            f"features: the weights {weights} cannot be read ({error.strerror}).",
            "Give 'imagenet', 'none' or the path of a weights file.",
        ) from None
    return FeatureKind(f"{BACKBONE}, {Path(weights).name}, {px} px", f"{BACKBONE}/{digest}/{px}", px, weights)


def best_features(
    photos: Sequence[tuple[str, str]], root: Path | None, cache: Path, progress: Progress
) -> ShardedFeatures:
    """Features with ImageNet weights where they are at hand or can be downloaded, else hand-made ones, with a warning.

    Raises:
        DataError, StorageError: as `photo_features`.
    """
    kind = feature_kind("imagenet")
    extract: Extract | None = None
    if _missing(photos, kind, cache):
        try:
            extract = _network(kind)
        except RequestError as error:
            log.warning(
                "%s Hand-made features stand in, which find coarse faults only (weights = 'none' asks for them).",
                error.message,
            )
            kind = HANDMADE
    return photo_features(photos, root, kind, cache, progress, extract)


def photo_features(
    photos: Sequence[tuple[str, str]],
    root: Path | None,
    kind: FeatureKind,
    cache: Path,
    progress: Progress,
    extract: Extract | None = None,
) -> ShardedFeatures:
    """The features of `photos` ((path, sha256) each), in their order; made only of photos that the store lacks.

    `extract` is the network of the kind where it is loaded already.

    Raises:
        RequestError: the weights cannot be had or do not fit.
        DataError: a photo is missing, was changed, or cannot be decoded.
        StorageError: the cache cannot be written.
    """
    missing = _missing(photos, kind, cache)
    if missing:
        extract = extract or (handmade.handmade if kind.weak else _network(kind))
        _build(missing, root, kind, cache, extract, progress)
    shards, rows = open_shards(_folder(cache, kind), np.float32)
    places = np.array([rows[sha256] for _, sha256 in photos], np.int64).reshape(-1, 2)
    return ShardedFeatures(kind, shards, places)


def _folder(cache: Path, kind: FeatureKind) -> Path:
    return cache / "features" / hashlib.sha256(f"1/{kind.identity}".encode()).hexdigest()[:16]


def _missing(photos: Sequence[tuple[str, str]], kind: FeatureKind, cache: Path) -> list[tuple[str, str]]:
    """The photos without features, each content once, by its first path."""
    _, rows = open_shards(_folder(cache, kind), np.float32)
    first: dict[str, tuple[str, str]] = {}
    for path, sha256 in photos:
        if sha256 not in rows:
            first.setdefault(sha256, (path, sha256))
    return list(first.values())


def _build(
    photos: Sequence[tuple[str, str]],
    root: Path | None,
    kind: FeatureKind,
    cache: Path,
    extract: Extract,
    progress: Progress,
) -> None:
    """Makes the features of photos, a shard at a time."""
    if root is None:
        raise DataError(f"{len(photos)} photos have no features yet, and no photos were given.", "Add --data FOLDER.")
    folder = _folder(cache, kind)
    ready_store(folder)
    progress.start(f"Features by {kind.name}", len(photos))
    # Decoded on the way and not kept: at this size the pixels of a million photos would take 150 GB.
    preprocess = Preprocess(width=kind.px, height=kind.px)
    with PhotoReader(root) as reader:
        for part in chunks(photos, SHARD):
            blocks = []
            with contextlib.closing(decoded_stream(part, reader, preprocess)) as stream:
                for pixels in stream:
                    blocks.append(extract(pixels))
                    progress.advance(len(pixels))
            values = np.concatenate(blocks).astype(np.float32, copy=False)
            if not np.isfinite(values).all():
                raise RequestError(
                    f"{kind.name}: some features are not finite.", "The weights are damaged: use others."
                )
            write_shard(folder, [sha256 for _, sha256 in part], values.shape[1:], np.float32, [values])
    progress.finish()


def _network(kind: FeatureKind) -> Extract:
    """The frozen network up to its pooled features: uint8 [b, px, px, 3] -> float32 [b, d].

    Raises:
        MissingExtraError: Keras is not installed.
        RequestError: the weights cannot be had or do not fit.
    """
    from featherlite.models.framework import start_keras

    start_keras("Finding wrong labels by a network's features")
    import keras

    from featherlite.models.backbones import Order, card_of
    from featherlite.models.weights import build_backbone

    backbone: Any = build_backbone(Order(card_of(BACKBONE), kind.px, kind.px), weights=kind.weights)
    pooled: Any = keras.Model(backbone.inputs[0], keras.layers.GlobalAveragePooling2D()(backbone.outputs[0]))

    def extract(photos: Pixels) -> NDArray[np.float32]:
        batch = np.zeros((CHUNK, *photos.shape[1:]), np.uint8)  # always of one size: another would compile it anew
        batch[: len(photos)] = photos
        return np.asarray(pooled.predict_on_batch(network_input(batch)), np.float32)[: len(photos)]

    return extract
