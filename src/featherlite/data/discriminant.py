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

CHOICE = 1024
"""Photos by which the shrinkage is chosen."""

SAMPLE = 4096
"""Photos by which the temperature is."""

SHRINKAGES = (0.3, 1.0, 3.0, 10.0)

TEMPERATURES = (1e-3, 1e4)

LARGE = 64
"""Groups of more photos, and of more than half the features' width, are taken out of the scatter itself."""

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
        squares = _lengths(whitened)[:, None] - 2.0 * whitened @ self.centers.T + _lengths(self.centers)
        return np.where(self.counts > 0, np.maximum(squares, 0.0), np.inf)

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
        spread = _lengths(apart)
        toward[rows, labels] = spread * rest
        squares[rows, labels] = np.where(counts > 1.0, spread * rest**2, np.inf)
        gain = rest / (1.0 - rest * spread)
        return np.asarray(squares + gain[:, None] * toward**2)

    def without_groups(self, whitened: Floats, labels: Numbers) -> Floats:
        """Squared distances float64 [m, g, k] of the photos [m, g, d] of m groups, each left out of the fit as a whole.

        The time for a photo grows with g * (d + k) and g^2: where g is not much smaller than d, `without` is faster.
        """
        apart = whitened - self.centers[labels]
        same = (labels[:, :, None] == labels[:, None, :]).astype(np.float64)
        left = self.counts[labels] - same.sum(axis=2)
        moved = self.centers[labels] - same @ apart / np.maximum(left, 1.0)[..., None]
        # The scatter loses apart' C apart, C = I + 11'/left in each class, whose inverse is I - 11'/count.
        share = np.where(left > 0, 1.0 / self.counts[labels], 0.0)
        inner = np.linalg.inv(np.eye(labels.shape[1]) - same * share[..., None] - apart @ apart.swapaxes(1, 2))
        toward = whitened @ apart.swapaxes(1, 2)
        drawn = toward @ inner

        def gains(aims: Floats) -> Floats:  # of distance to aims [m, g, c], given as seen along `apart`
            straight = np.einsum("mij,mij->mi", drawn, toward)[..., None]
            return np.asarray(straight - 2 * drawn @ aims + np.einsum("mjc,mjc->mc", aims, inner @ aims)[:, None])

        back = moved.swapaxes(1, 2)
        near = (whitened**2).sum(axis=2)[..., None] - 2.0 * whitened @ back + (moved**2).sum(axis=2)[:, None]
        near = np.where(left[:, None] > 0, near + gains(apart @ back), np.inf)
        squares = self.distances(whitened.reshape(-1, whitened.shape[2])).reshape(*labels.shape, -1)
        squares += gains(apart @ self.centers.T)
        np.put_along_axis(squares, np.broadcast_to(labels[:, None], near.shape), near, axis=2)
        return np.asarray(np.maximum(squares, 0.0))

    def without(self, features: Rows, labels: Numbers, gone: Numbers) -> Discriminant:
        """The discriminant that never saw the photos `gone` int64 [g]: for large groups, the time grows with g + d."""
        lost, sums = np.zeros_like(self.whiten), np.zeros_like(self.centers)
        for start in range(0, len(gone), CHUNK):
            part = gone[start : start + CHUNK]
            apart = self.whitened(features[part]) - self.centers[labels[part]]
            lost += apart.T @ apart
            _add_by_label(sums, apart, labels[part])
        left = self.counts - np.bincount(labels[gone], minlength=len(self.counts))
        means = sums / np.maximum(left, 1.0)[:, None]
        lost += sums.T @ np.where(left[:, None] > 0, means, 0.0)
        turn = _whitening(np.eye(len(lost)) - lost)
        return replace(self, whiten=self.whiten @ turn, centers=(self.centers - means) @ turn, counts=left)

    def log_probabilities(self, squares: Floats) -> Floats:
        """Natural logarithms of probabilities, float64 [n, k], of squared distances [n, k]."""
        return log_softmax(-self.temperature * squares)

    def held_out(self, features: Rows, labels: Numbers, groups: Numbers) -> Iterator[tuple[Numbers, Floats]]:
        """(numbers of photos [m], log-probabilities float64 [m, k]) by the distances of `held_out_distances`."""
        for photos, squares, _ in self.held_out_distances(features, labels, groups):
            yield photos, self.log_probabilities(squares)

    def held_out_distances(
        self, features: Rows, labels: Numbers, groups: Numbers
    ) -> Iterator[tuple[Numbers, Floats, Floats]]:
        """(photos [m], squared distances float64 [m, k], squared distance to the mean of all [m]), every photo once.

        A photo's distances are those without all photos that have its number in `groups` int64 [n], itself among them;
        the last one is with them. In no certain order.
        """
        _, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order, starts = np.argsort(place, kind="stable"), np.cumsum(sizes) - sizes
        large = max(LARGE, self.centers.shape[1] // 2)
        for size in np.unique(sizes).tolist():
            members = order[starts[sizes == size][:, None] + np.arange(size)]
            step = 1 if size > large else max(1, CHUNK // size)
            for start in range(0, len(members), step):
                yield from self._apart(features, labels, members[start : start + step], large)

    def _apart(
        self, features: Rows, labels: Numbers, members: Numbers, large: int
    ) -> Iterator[tuple[Numbers, Floats, Floats]]:
        """As `held_out_distances`, of groups of one size: members int64 [m, g]."""
        size, flat = members.shape[1], members.ravel()
        if size > large:
            rest = self.without(features, labels, flat)
            for start in range(0, size, CHUNK):
                part = flat[start : start + CHUNK]
                rows = features[part]
                yield part, rest.distances(rest.whitened(rows)), _lengths(self.whitened(rows))
            return
        whitened = self.whitened(features[flat])
        if size == 1:
            squares = self.without_self(whitened, labels[flat])
        else:
            squares = self.without_groups(whitened.reshape(*members.shape, -1), labels[members])
        yield flat, squares.reshape(len(flat), -1), _lengths(whitened)


def moments(features: Rows, labels: Numbers, classes: int) -> Moments:
    """The moments of features float32 [n, d] with class numbers int64 [n] in 0..classes-1, read twice in chunks."""
    width = features.shape[1]
    sums, counts = np.zeros((classes, width)), np.bincount(labels, minlength=classes).astype(np.float64)
    chunks = [slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK)]
    for part in chunks:
        _add_by_label(sums, features[part].astype(np.float64), labels[part])
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
    temperature, by regular samples of the photos.
    """
    known = moments(features, labels, classes)
    level = max(float(np.trace(known.scatter)) / len(known.scatter), 1e-12)
    judged = np.flatnonzero(known.counts[labels] > 1)
    few, sample = _regular(judged, CHOICE), _regular(judged, SAMPLE)
    some = features[few]
    best: tuple[float, Discriminant] | None = None
    for shrinkage in shrinkages:
        whiten = _whitening(known.scatter + shrinkage * level * np.eye(len(known.scatter)))
        made = Discriminant(known.mean, whiten, known.centers @ whiten, known.counts)
        if len(few) == 0:
            return made
        _, loss = fit_temperature(-made.without_self(made.whitened(some), labels[few]), labels[few])
        if best is None or loss < best[0]:
            best = (loss, made)
    if best is None:
        raise ValueError("no shrinkage to choose from")
    made = best[1]
    squares = made.without_self(made.whitened(features[sample]), labels[sample])
    return replace(made, temperature=fit_temperature(-squares, labels[sample])[0])


def _regular(numbers: Numbers, most: int) -> Numbers:
    """Every so-manieth of the numbers, at most `most`."""
    return numbers[:: -(-len(numbers) // most) or 1]


def fit_temperature(scores: Floats, labels: Numbers) -> tuple[float, float]:
    """(temperature, loss): the factor on scores float64 [n, k] by which the labels are most probable, and -mean log p.

    The loss is convex in it; found by Newton's steps on its slope, kept within halving bounds. Source: Guo et al., On
    Calibration of Modern Neural Networks, 2017, section 4.2.
    """
    rows = np.arange(len(labels))
    scores = scores - scores.max(axis=1, keepdims=True)
    own = scores[rows, labels].mean()
    finite = np.where(np.isfinite(scores), scores, 0.0)
    low, high = TEMPERATURES
    factor = float(np.sqrt(low * high))
    for _ in range(64):
        weights = np.exp(factor * scores)
        weights /= weights.sum(axis=1, keepdims=True)
        means = np.einsum("ij,ij->i", weights, finite)
        slope = float(means.mean() - own)
        bend = float((np.einsum("ij,ij,ij->i", weights, finite, finite) - means**2).mean())
        low, high = (factor, high) if slope <= 0 else (low, factor)
        aim = factor - slope / bend if bend > 0 and slope != 0 else high
        last, factor = factor, aim if low < aim < high else float(np.sqrt(low * high))
        if abs(factor - last) <= 1e-9 * last:
            break
    return factor, float(-log_softmax(factor * scores)[rows, labels].mean())


def _add_by_label(sums: Floats, rows: Floats, labels: Numbers) -> None:
    """Adds the rows [n, d] to sums [k, d], each to that of its label."""
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    sums[present] += np.add.reduceat(rows[order], first, axis=0)


def _whitening(scatter: Floats) -> Floats:
    """W [d, d] with W W' = the inverse of scatter: by Cholesky, as an eigensolver's threads trip over each other."""
    return np.asarray(_lower_inverse(np.asarray(np.linalg.cholesky(scatter), np.float64)).T)


def _lower_inverse(lower: Floats) -> Floats:
    """The inverse of a lower triangular matrix, by quarters."""
    width = len(lower)
    if width <= 64:
        return np.asarray(np.linalg.inv(lower))
    half, found = width // 2, np.zeros_like(lower)
    found[:half, :half], found[half:, half:] = _lower_inverse(lower[:half, :half]), _lower_inverse(lower[half:, half:])
    found[half:, :half] = -found[half:, half:] @ (lower[half:, :half] @ found[:half, :half])
    return found


def _lengths(rows: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def log_softmax(scores: Floats) -> Floats:
    """Natural logarithms of the softmax over the last axis, float64 of the same shape; -inf stays -inf."""
    peak = scores.max(axis=-1, keepdims=True)
    shifted = scores - np.where(np.isfinite(peak), peak, 0.0)  # where nothing is left, all stay -inf
    return np.asarray(shifted - np.log(np.maximum(np.exp(shifted).sum(axis=-1, keepdims=True), 1e-300)))
