"""photos that look more like another class than like their own

Photos with the wrong label teach the wrong thing, and in the test they count right answers as mistakes. The suggestions
are guesses, the likeliest first: compare each photo with others of both labels before you decide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.confident import group_numbers, wrong_labels
from featherlite.data.evidence import Evidence
from featherlite.data.features import is_weak
from featherlite.data.findings import Issue

MOST = 0.1
"""Of all photos, at most this share is listed, the worst first: what is longer nobody looks through."""

FEW = 20


@check(needs_features=True)
def wrong_label(evidence: Evidence) -> Iterator[Issue]:
    """Every photo is judged by a classifier that has seen all others but not it, nor its near-duplicates.

    The score is 0.5 where its label is as improbable as by a blind guess. Relabeling is suggested where the other
    class is as probable as for photos that bear its name, and a network says so; elsewhere only a look.
    """
    features, names = evidence.features, list(evidence.classes)
    if features is None or len(names) < 2:
        return
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[photo.label] for photo in evidence.photos], np.int64)
    groups = group_numbers(len(labels), evidence.near.clusters)
    found = wrong_labels(features, labels, groups, len(names))
    for rank in range(min(len(found.photo), max(FEW, int(MOST * len(labels))))):
        photo, to = evidence.photos[int(found.photo[rank])], names[int(found.to[rank])]
        chance, sure = float(found.chance[rank]), bool(found.sure[rank]) and not is_weak(features)
        message = f"looks more like '{to}' ({chance:.0%}) than like '{photo.label}'"
        path = (photo.path,)
        yield Issue(
            "wrong-label",
            path,
            float(found.score[rank]),
            message,
            "relabel" if sure else "look",
            path,
            to,
        )
