"""photos that look like nothing else in the set: a person among flowers, a scanned page among birds

Searching the web for photos also brings maps, drawings, logos and people, each under the label that was searched for.
Leave out what does not show its class; keep a rare view of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.confident import group_numbers
from featherlite.data.discriminant import CHUNK, Features, Floats, Numbers, Rows
from featherlite.data.evidence import Evidence
from featherlite.data.features import is_weak
from featherlite.data.findings import Issue

NEIGHBORS = 10
REFERENCES = 8192
"""Photos that each is compared with, a regular sample where the set has more: the cost of a photo stays the same."""

FAR = 2.5
"""Spreads above the middle of the set at which the score is 0.5."""


@check(needs_features=True)
def off_topic(evidence: Evidence) -> Iterator[Issue]:
    """Off topic is what has no neighbors: its ten nearest photos are much further away than those of others are.

    The score is 0.5 at two and a half spreads above the set's median, which about one in a hundred photos of a clean
    set reach. More than ten photos of one foreign kind vouch for each other. By hand-made features nothing is said.
    """
    features = evidence.features
    if features is None or is_weak(features) or len(evidence.photos) <= NEIGHBORS:
        return iter(())
    distances = loneliness(features, group_numbers(len(evidence.photos), evidence.near.clusters))
    return evidence.flag(
        "off-topic",
        strangeness(distances),
        0.5,
        lambda i: (
            f"resembles no other photo of the set (distance to its nearest {NEIGHBORS}: {distances[i]:.2f},"
            f" usual {float(np.median(distances)):.2f})"
        ),
    )


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
