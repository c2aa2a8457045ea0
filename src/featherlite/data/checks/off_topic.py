"""photos that look like nothing else in the set: a person among flowers, a scanned page among birds

Searching the web for photos also brings maps, drawings, logos and people, each under the label that was searched for.
Leave out what does not show its class; keep a rare view of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.confident import group_numbers
from featherlite.data.discriminant import CHUNK, Features, Floats, Numbers, Rows, fit
from featherlite.data.evidence import Evidence
from featherlite.data.features import is_weak
from featherlite.data.findings import Issue

NEIGHBORS = 10
REFERENCES = 8192
"""Photos that each is compared with, a regular sample where the set has more: the cost of a photo stays the same."""

SHRINKAGE = 0.1
"""Of the scatter by which it is measured how far a photo explains itself: little, or nothing does."""

FAR = 2.75
"""Spreads above the middle of the set at which the score is 0.5."""


@check(needs_trained=True)
def off_topic(evidence: Evidence) -> Iterator[Issue]:
    """Off topic is what has no neighbors, and fits the set only because it is in it.

    The score is 0.5 at FAR spreads above the set's median, which about one in a hundred photos of a clean set reach.
    More than ten photos of one foreign kind vouch for each other. By hand-made features nothing is said.
    """
    features, photos = evidence.features, evidence.photos
    if features is None or is_weak(features) or len(photos) <= NEIGHBORS:
        return iter(())
    groups = group_numbers(len(photos), evidence.near.clusters)
    labels = np.empty(len(photos), np.int64)
    for number, members in enumerate(evidence.classes.values()):
        labels[members] = number
    strange = loneliness(features, groups) * reliance(features, labels, groups, len(evidence.classes))
    usual = max(float(np.median(strange)), 1e-9)
    return evidence.flag(
        "off-topic",
        strangeness(strange),
        0.5,
        lambda i: f"resembles no other photo of the set ({strange[i] / usual:.1f} times as strange as the middle one)",
    )


def reliance(features: Rows, labels: Numbers, groups: Numbers, classes: int) -> Floats:
    """How much further from its nearest class a photo is without itself than from all with itself, float64 [n] >= 0.

    Squared Mahalanobis distances of the features' directions [n, d] under the scatter in classes, which a photo that
    is like others hardly changes. "Without itself" is without all photos of its group (int64 [n]).
    """
    rows = _Directions(features)
    made, found = fit(rows, labels, classes, (SHRINKAGE,)), np.empty(features.shape[0])
    for photos, squares, inside in made.held_out_distances(rows, labels, groups):
        nearest = squares.min(axis=1)
        found[photos] = np.where(np.isfinite(nearest), nearest, 0.0) / np.maximum(inside, 1e-12)
    return found


class _Directions:
    """Rows of features, of length 1 as they are read."""

    def __init__(self, features: Rows) -> None:
        self._features = features
        self.shape = features.shape

    def __getitem__(self, rows: slice | Numbers) -> Features:
        return _directions(self._features[rows])


def loneliness(features: Rows, groups: Numbers) -> Floats:
    """Mean cosine distance to the nearest photos, float64 [n] in 0..2, of features float32 [n, d].

    Photos of one group (int64 [n]) are not neighbors: a copy is no witness.
    """
    chosen = np.arange(0, features.shape[0], -(-features.shape[0] // REFERENCES))
    references, known = _directions(features[chosen]), groups[chosen]
    nearest = min(NEIGHBORS, max(1, len(chosen) - 1))
    found = np.empty(features.shape[0])
    for start in range(0, features.shape[0], CHUNK):
        part = slice(start, start + CHUNK)
        alike = _directions(features[part]) @ references.T
        alike[groups[part][:, None] == known[None]] = -1.0
        best = np.partition(alike, -nearest, axis=1)[:, -nearest:]
        found[part] = 1.0 - best.mean(axis=1)
    return found


def strangeness(distances: Floats) -> Floats:
    """Scores float64 [n] in 0..1 of distances [n]: 0 up to their median, 0.5 at FAR spreads above it.

    The spread is 1.48 times the distance from the median to the upper quartile: a standard deviation where they are
    normal, and not moved by the few that lie far off.
    """
    middle, upper = np.quantile(distances, (0.5, 0.75))
    spread = max(1.4826 * float(upper - middle), 1e-9)
    above = np.maximum(distances - middle, 0.0) / spread
    return np.asarray(above / (above + FAR))


def _directions(features: Features) -> Features:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), np.float32)
