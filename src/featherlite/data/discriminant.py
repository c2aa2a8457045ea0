"""A linear discriminant on frozen features: what it says of each photo when that photo, or its group, was not there.

All held-out predictions are exact and come from one fit, in closed form: no folds, no chance, and nothing larger than
[d, d], [classes, d] and one chunk of photos is held, so features may be a memory-mapped file of any length.

Source: Fisher's discriminant with the shrunk pooled covariance S + shrinkage * trace(S) / d * I (Friedman, Regularized
Discriminant Analysis, 1989, eq. 18). Leaving photos out takes a few directions from S: the formula of Woodbury.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Discriminant", "Moments", "Rows", "fit", "fit_temperature", "log_softmax", "moments"]

CHUNK = 2048
"""Photos that are worked on at a time."""

SAMPLE = 4096
"""Photos by which shrinkage and temperature are chosen."""

SHRINKAGES = (0.3, 1.0, 3.0, 10.0)

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Numbers = NDArray[np.int64]


class Rows(Protocol):
    """Features float32 [n, d] that are read as they are indexed; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(photos, width)"""

    def __getitem__(self, rows: slice | Numbers, /) -> Features:
        """The chosen rows."""


@dataclass(frozen=True)
class Moments:
    """What a fit needs of a set: photos a class float64 [k], mean [d], class means [k, d], scatter in classes [d, d].

    Class means are relative to the mean; those of classes without photos are 0.
    """

    counts: Floats
    mean: Floats
    centers: Floats
    scatter: Floats


@dataclass(frozen=True)
class Discriminant:
    """The fit in whitened coordinates: z = (x - mean) @ whiten, class means float64 [k, d] there, photos a class [k].

    Squared distances in them are Mahalanobis distances under the shrunk scatter; a class's score is minus that distance
    times `temperature`, and the probabilities are the softmax of the scores.
    """

    mean: Floats
    whiten: Floats
    centers: Floats
    counts: Floats
    temperature: float = 1.0

    def whitened(self, features: NDArray[Any]) -> Floats:
        """float64 [n, d] of features [n, d]."""
        return np.asarray((features.astype(np.float64) - self.mean) @ self.whiten)

    def distances(self, whitened: Floats) -> Floats:
        """Squared distances float64 [n, k] of whitened photos [n, d] to the class means, nobody left out."""
        own = np.einsum("ij,ij->i", whitened, whitened)[:, None]
        squares = own - 2.0 * whitened @ self.centers.T + np.einsum("ij,ij->i", self.centers, self.centers)
        return self._without_empty(np.maximum(squares, 0.0), self.counts)

    def without_self(self, whitened: Floats, labels: Numbers) -> Floats:
        """Squared distances float64 [n, k], each photo [n, d] left out of the fit that judges it.

        Infinite for the own class of a photo that is the only one in it, and for classes without photos.
        """
        rows = np.arange(len(labels))
        counts = self.counts[labels]
        rest = counts / np.maximum(counts - 1.0, 1.0)  # of a class of one, nothing is left: its direction alone counts
        apart = whitened - self.centers[labels]
        squares = self.distances(whitened)
        toward = np.einsum("ij,ij->i", whitened, apart)[:, None] - apart @ self.centers.T
        spread = np.einsum("ij,ij->i", apart, apart)
        toward[rows, labels] = spread * rest
        squares[rows, labels] = np.where(counts > 1.0, spread * rest**2, np.inf)
        gain = rest / (1.0 - rest * spread)
        return np.asarray(squares + gain[:, None] * toward**2)

    def without_group(self, whitened: Floats, labels: Numbers) -> Floats:
        """Squared distances float64 [g, k] of the photos [g, d] of one group, all left out of the fit together."""
        apart = whitened - self.centers[labels]
        present, place, gone = np.unique(labels, return_inverse=True, return_counts=True)
        sums = np.zeros((len(present), whitened.shape[1]))
        np.add.at(sums, place, apart)
        left = self.counts[present] - gone
        moved = self.centers[present] - sums / np.maximum(left, 1.0)[:, None]
        squares = self.distances(whitened)
        toward = (whitened @ apart.T)[:, None, :] - (self.centers @ apart.T)[None]
        toward[:, present] = (whitened @ apart.T)[:, None, :] - (moved @ apart.T)[None]
        near = ((whitened[:, None, :] - moved[None]) ** 2).sum(axis=2)
        squares[:, present] = np.where(left > 0, near, np.inf)
        # The scatter loses apart' C apart, C = I + 11'/left in each class, whose inverse is I - 11'/count.
        same = labels[:, None] == labels[None]
        share = np.where(left > 0, 1.0 / self.counts[present], 0.0)[place]
        core = np.eye(len(labels)) - np.where(same, share[:, None], 0.0) - apart @ apart.T
        gain = np.einsum("ikg,ikg->ik", toward, np.linalg.solve(core, toward.swapaxes(1, 2)).swapaxes(1, 2))
        return np.asarray(squares + gain)

    def log_probabilities(self, squares: Floats) -> Floats:
        """Natural logarithms of probabilities, float64 [n, k], of squared distances [n, k]."""
        return log_softmax(-self.temperature * squares)

    def held_out(self, features: Rows, labels: Numbers, groups: Numbers) -> Iterator[tuple[Numbers, Floats]]:
        """(numbers of photos [m], log-probabilities float64 [m, k]), every photo once, in no certain order.

        A photo is judged without the photos that have its number in `groups` int64 [n]; itself among them.
        """
        _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        alone = np.flatnonzero(sizes[place] == 1)
        for start in range(0, len(alone), CHUNK):
            chosen = alone[start : start + CHUNK]
            squares = self.without_self(self.whitened(features[chosen]), labels[chosen])
            yield chosen, self.log_probabilities(squares)
        together = np.flatnonzero(sizes[place] > 1)
        together = together[np.argsort(place[together], kind="stable")]
        edges = np.flatnonzero(np.diff(place[together])) + 1
        for members in np.split(together, edges) if len(together) else ():
            squares = self.without_group(self.whitened(features[members]), labels[members])
            yield members, self.log_probabilities(squares)

    def _without_empty(self, squares: Floats, counts: Floats) -> Floats:
        squares[:, counts == 0] = np.inf
        return squares


def moments(features: Rows, labels: Numbers, classes: int) -> Moments:
    """The moments of features float32 [n, d] with class numbers int64 [n] in 0..classes-1, read twice in chunks."""
    width = features.shape[1]
    sums, counts = np.zeros((classes, width)), np.bincount(labels, minlength=classes).astype(np.float64)
    chunks = [slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK)]
    for part in chunks:
        np.add.at(sums, labels[part], features[part].astype(np.float64))
    mean = sums.sum(axis=0) / len(labels)
    centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1.0)[:, None] - mean, 0.0)
    scatter = np.zeros((width, width))
    for part in chunks:
        apart = features[part].astype(np.float64) - mean - centers[labels[part]]
        scatter += apart.T @ apart
    return Moments(counts, mean, centers, scatter)


def fit(features: Rows, labels: Numbers, classes: int, shrinkages: Sequence[float] = SHRINKAGES) -> Discriminant:
    """The discriminant of features float32 [n, d] with class numbers int64 [n].

    Of the shrinkages, the one whose held-out probabilities of the labels are highest is taken, each at its best
    temperature, by a regular sample of the photos.
    """
    known = moments(features, labels, classes)
    values, vectors = np.linalg.eigh(known.scatter)
    values = np.maximum(values, 0.0)
    judged = np.flatnonzero(known.counts[labels] > 1)
    sample = judged[:: max(1, len(judged) // SAMPLE)]
    some = features[sample]
    best: tuple[float, Discriminant] | None = None
    for shrinkage in shrinkages:
        ridge = shrinkage * max(float(values.mean()), 1e-12)
        whiten = vectors / np.sqrt(values + ridge)
        made = Discriminant(known.mean, whiten, known.centers @ whiten, known.counts)
        if len(sample) == 0:
            return made
        squares = made.without_self(made.whitened(some), labels[sample])
        temperature, loss = fit_temperature(-squares, labels[sample])
        if best is None or loss < best[0]:
            best = (loss, replace(made, temperature=temperature))
    if best is None:
        raise ValueError("no shrinkage to choose from")
    return best[1]


def fit_temperature(scores: Floats, labels: Numbers) -> tuple[float, float]:
    """(temperature, loss): the factor on scores float64 [n, k] by which the labels are most probable, and -mean log p.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2; found by golden sections.
    """
    rows = np.arange(len(labels))

    def loss(exponent: float) -> float:
        return float(-log_softmax(float(np.exp(exponent)) * scores)[rows, labels].mean())

    low, high = np.log(1e-3), np.log(1e4)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(32):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    middle = (low + high) / 2.0
    return float(np.exp(middle)), loss(middle)


def log_softmax(scores: Floats) -> Floats:
    """Natural logarithms of the softmax over the last axis, float64 of the same shape; -inf stays -inf."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
