"""Output columns for classes that a network does not know yet, from the features of their photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.shrink.chosen import ChosenPhotos

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet

__all__ = ["Seen", "class_means", "imprinted", "matched_columns"]

MEASURED = 9
"""The stream of random numbers that picks the photos on which new outputs are brought to the others' scale."""
SAMPLE = 1024
"""So many photos of the old classes at most."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Seen:
    """What the output layer reads of some photos, float64 [photos, features], and their labels, int64 [photos]."""

    features: Floats
    labels: NDArray[np.int64]


def imprinted(network: keras.Model, train: PhotoSet, seed: int) -> tuple[Floats, Floats | None]:
    """The output layer's kernel [features, classes] and bias with the new classes' columns behind the others."""
    import keras

    from featherlite.models.surgery.dense import has_fixed_columns, output_dense

    dense = output_dense(network)
    kernel, *bias = (np.asarray(weight, np.float64) for weight in dense.get_weights())
    old = np.flatnonzero(train.labels < kernel.shape[1])
    rows = np.sort(np.random.default_rng([seed, MEASURED]).permutation(old)[:SAMPLE])
    seen = keras.Model(network.inputs[0], dense.input)
    known = Seen(_features(seen, train, rows), train.labels[rows])
    rows = np.flatnonzero(train.labels >= kernel.shape[1])
    fresh = Seen(_features(seen, train, rows), train.labels[rows] - kernel.shape[1])
    if has_fixed_columns(dense):
        return np.hstack([kernel, _unit(class_means(fresh)).T]), None
    columns, biases = matched_columns(fresh, known, kernel, bias[0] if bias else None)
    return np.hstack([kernel, columns]), np.concatenate([bias[0], biases]) if bias else None


def class_means(seen: Seen) -> Floats:
    """The mean direction of each class's features: float64 [classes, features], of features brought to length one.

    Source: H. Qi, M. Brown and D. G. Lowe, "Low-Shot Learning with Imprinted Weights" (arXiv:1712.07136), section 3.2.
    """
    units = _unit(seen.features)
    return np.stack([units[seen.labels == number].mean(axis=0) for number in range(int(seen.labels.max()) + 1)])


def matched_columns(fresh: Seen, known: Seen, kernel: Floats, bias: Floats | None) -> tuple[Floats, Floats]:
    """Columns [features, new] and biases [new] for the classes of `fresh` that answer as those of `known` do.

    They point to the class means, less what all features have in common: uncentered, a new class would win on every
    photo. Scale and bias are such that a new class's answer is on its own photos what a former one's is on its own, on
    average, and on photos of the former classes what theirs are on photos of others.
    """
    logits = known.features @ kernel + (0.0 if bias is None else bias)
    own = np.arange(logits.shape[1]) == known.labels[:, None]
    directions = _unit(class_means(fresh) - _unit(known.features).mean(axis=0)).T
    aside, along = (known.features @ directions).mean(axis=0), fresh.features @ directions
    ahead = np.array([along[fresh.labels == number, number].mean() for number in range(directions.shape[1])])
    gap = max(float(logits[own].mean() - logits[~own].mean()), 0.0)
    scales = gap / np.maximum(ahead - aside, 1e-6)
    return directions * scales, logits[~own].mean() - scales * aside


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _features(seen: keras.Model, photos: PhotoSet, rows: NDArray[np.int64]) -> Floats:
    """What the output layer reads of those photos: float64 [photos, features]."""
    from featherlite.training.predict import BATCH, padded_batches

    batches = padded_batches(ChosenPhotos(photos.images, rows), BATCH)
    found = [np.asarray(seen.predict_on_batch(batch), np.float64)[:count] for _, count, batch in batches]
    return np.concatenate(found)
