"""Photos whose label their features contradict: confident learning on held-out predictions.

Source: Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, 2021, arXiv:1911.00068:
thresholds by eq. 2, ranking by self-confidence (section 3.2). Our additions:
thresholds of small classes lean on the others'; look-alikes of one class do not vouch for each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featherlite.data.discriminant import CHUNK, Discriminant, Features, Floats, Numbers, Rows, fit

__all__ = [
    "Beliefs",
    "Suspects",
    "beliefs",
    "companions",
    "conditioned",
    "thresholds",
    "wrong_labels",
]

TOP = 5
"""Classes remembered of each photo: all that can reach a threshold, save where five are more probable."""

SMALL_CLASS = 32
"""In classes of at most so many photos, one look-alike with the same wrong label can decide what a class looks like."""

OTHERS = 16384
"""Photos of the whole set that a companion is compared with, a regular sample where there are more."""

LEAN = 4.0
"""Photos at the mean threshold that every class is given, so that one of four photos does not set that of its class."""

FLOOR = 1e-12


@dataclass(frozen=True)
class Beliefs:
    """What held-out predictions say of each of n photos.

    `own` float64 [n]: -log of the probability of its own label, 0 where nothing can be said (all of its class was left
    out). `top` int64 [n, m]: its most probable classes, best first; `chance` float64 [n, m]: their probabilities.
    """

    own: Floats
    top: Numbers
    chance: Floats


@dataclass(frozen=True)
class Suspects:
    """Photos that may be labelled wrongly, worst first.

    `photo` int64 [s]: their numbers; `score` float64 [s] in 0..1: the share of surprise, 0.5 where the label is no more
    probable than by a blind guess; `to` int64 [s]: the class they look like; `chance` float64 [s]: its probability;
    `sure` bool [s]: whether that is as probable as for photos which bear its label.
    """

    photo: Numbers
    score: Floats
    to: Numbers
    chance: Floats
    sure: NDArray[np.bool_]


def conditioned(features: Features) -> Features:
    """Features float32 [n, d] with their signed roots taken and of length 1: a few large ones no longer rule all."""
    roots = np.sign(features) * np.sqrt(np.abs(features))
    return np.asarray(roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), FLOOR), np.float32)


def wrong_labels(features: Rows, labels: Numbers, groups: Numbers, classes: int) -> Suspects:
    """Every photo that looks more like another class than like its own, and no more like its own than by a guess.

    Features are float32 [n, d], class numbers int64 [n] in 0..classes-1, and `groups` int64 [n] has one number for
    photos that show the same thing: they are judged without each other.
    """
    rows = _Conditioned(features)
    made = fit(rows, labels, classes)
    found = beliefs(made, rows, labels, groups)
    pairs = companions(rows, labels, groups, classes)
    if len(pairs):
        found = _without_companions(found, made, rows, labels, pairs)
    score = found.own / (found.own + np.log(max(classes, 2)))
    limits = thresholds(np.exp(-found.own), labels, classes)
    likely = _likely(found, limits)
    other = np.where(found.top[:, 0] == labels, found.top[:, min(1, found.top.shape[1] - 1)], found.top[:, 0])
    sure = (likely >= 0) & (likely != labels)
    to = np.where(sure, likely, other)
    chance = np.where(found.top == to[:, None], found.chance, 0.0).max(axis=1)
    chosen = np.flatnonzero((score >= 0.5) & (to != labels))
    order = chosen[np.argsort(-found.own[chosen], kind="stable")]
    return Suspects(order, score[order], to[order], chance[order], sure[order])


def group_numbers(count: int, clusters: Iterable[Sequence[int]]) -> Numbers:
    """A number for each of `count` photos, int64 [count]: one for all of a cluster, one of its own for every other."""
    groups = np.arange(count, dtype=np.int64)
    for cluster in clusters:
        groups[list(cluster)] = cluster[0]
    return groups


class _Conditioned:
    """Rows of features, conditioned as they are read."""

    def __init__(self, features: Rows) -> None:
        self._features = features
        self.shape = features.shape

    def __getitem__(self, rows: slice | Numbers) -> Features:
        return conditioned(self._features[rows])


def beliefs(made: Discriminant, features: Rows, labels: Numbers, groups: Numbers) -> Beliefs:
    """What the discriminant says of each photo without its group."""
    count, width = len(labels), min(TOP, len(made.counts))
    own, top, chance = np.zeros(count), np.zeros((count, width), np.int64), np.zeros((count, width))
    for photos, logs in made.held_out(features, labels, groups):
        rows = np.arange(len(photos))
        surprise = -logs[rows, labels[photos]]
        own[photos] = np.where(np.isfinite(surprise), surprise, 0.0)
        best = np.argsort(-logs, axis=1, kind="stable")[:, :width]
        top[photos], chance[photos] = best, np.exp(logs[rows[:, None], best])
    return Beliefs(np.maximum(own, 0.0), top, chance)


def thresholds(own: Floats, labels: Numbers, classes: int, lean: float = LEAN) -> Floats:
    """The probability that photos labelled j give j on average, float64 [classes], of own float64 [n].

    A class counts `lean` photos at the mean over all photos beside its own. Source: eq. 2, which is `lean` = 0.
    """
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=own, minlength=classes)
    return np.asarray((sums + lean * own.mean()) / np.maximum(counts + lean, FLOOR))


def _likely(found: Beliefs, limits: Floats) -> Numbers:
    """The most probable class among those whose threshold is reached, int64 [n]; -1 where none is."""
    reached = found.chance >= limits[found.top]
    first = reached.argmax(axis=1)
    return np.where(reached.any(axis=1), found.top[np.arange(len(first)), first], -1)


# ---- companions --------------------------------------------------------------------------------------------------


def companions(features: Rows, labels: Numbers, groups: Numbers, classes: int) -> Numbers:
    """Pairs int64 [p, 2] of photos of one small class that are each other's nearest in it, the first also in the set.

    Features are float32 [n, d] of length 1 each; the first is the photo with the lower number.

    Wrong labels come in pairs: who took one European robin for an American one took the next one as well. In a class of
    four the second then vouches for the first, so both are judged once more without each other.
    """
    counts = np.bincount(labels, minlength=classes)
    others = np.arange(0, len(labels), -(-len(labels) // OTHERS) if len(labels) else 1)
    references = np.zeros((0, features.shape[1]), np.float32)
    order, starts = np.argsort(labels, kind="stable"), np.cumsum(counts) - counts
    found = [np.zeros((0, 2), np.int64)]
    for size in range(3, SMALL_CLASS + 1):
        members = order[starts[counts == size][:, None] + np.arange(size)]
        if len(members) and not len(references):
            references = features[others]
        step = CHUNK // 2 // size
        for start in range(0, len(members), step):
            part = members[start : start + step]
            own = features[part.ravel()].reshape(*part.shape, -1)
            where, first, second, likeness = _mutual(own, groups[part])
            abroad = own[where, first] @ references.T
            abroad[labels[part[where, :1]] == labels[others][None]] = -1.0
            true = likeness > abroad.max(axis=1)
            found.append(np.stack([part[where, first], part[where, second]], axis=1)[true])
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 0])]


def _mutual(own: Features, groups: Numbers) -> tuple[Numbers, Numbers, Numbers, Features]:
    """(class, first, second, likeness) [p] of photos [m, s, d] of m classes that are each other's nearest in it."""
    alike = own @ own.swapaxes(1, 2)
    alike[groups[:, :, None] == groups[:, None, :]] = -1.0  # near-duplicates are left out anyway
    mate = alike.argmax(axis=2)
    likeness = np.take_along_axis(alike, mate[..., None], axis=2)[..., 0]
    rows = np.arange(own.shape[1])
    back = np.take_along_axis(mate, mate, axis=1)
    where, first = np.nonzero((back == rows) & (rows < mate) & (likeness > -0.5))
    return where, first, mate[where, first], likeness[where, first]


def _without_companions(found: Beliefs, made: Discriminant, features: Rows, labels: Numbers, pairs: Numbers) -> Beliefs:
    """The beliefs with the surprise of each companion averaged with what the pair shows without each other.

    The less surprising of the two counts for both: a pair is suspected where neither fits the rest of its class.
    """
    own = found.own.copy()
    for start in range(0, len(pairs), CHUNK // 2):
        pair = pairs[start : start + CHUNK // 2]
        whitened = made.whitened(features[pair.ravel()])
        squares = made.without_groups(whitened.reshape(*pair.shape, -1), labels[pair])
        logs = made.log_probabilities(squares)
        apart = -np.take_along_axis(logs, labels[pair][..., None], axis=2)[..., 0].max(axis=1)
        said = np.isfinite(apart)
        own[pair[said]] = (own[pair[said]] + apart[said, None]) / 2.0
    return replace(found, own=own)
