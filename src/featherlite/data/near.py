"""Photos that show the same picture: byte-identical, saved again, resized, cropped, mirrored, brightened, stamped.

Every photo is described by the low frequencies of its thumbnail; the nearest descriptions are found through a navigable
graph, so the cost grows far more slowly than n squared (benchmarks/scale.py). A cropped photo is found because each
photo also asks with five crops of itself, and a mirrored one because it asks mirrored too. What answers is laid over
the photo that asked (registration.py), and counts as a twin where the fine detail agrees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data.look import THUMB
from featherlite.data.pool import in_order
from featherlite.data.registration import likeness
from featherlite.data.source import Photo
from featherlite.data.union import Union
from featherlite.errors import MissingExtraError
from featherlite.step import Progress, Silent

__all__ = ["ALIKE", "SAME", "Twins", "describe", "near_duplicates"]

SAME = 0.7
"""Likeness from which on two photos are said to show the same picture. Of each kind of planted copies (11 kinds, 200
each, flowers and birds) 95% reach 0.81; on 3,455 flowers the 9 pairs between 0.7 and 0.8 were recolored copies and next
frames of a scene, with 4 mistakes."""

ALIKE = 0.5
"""Likeness from which on two photos stay on one side of a split: a mistake costs nothing there, a missed copy does. Of
1,144 planted copies 4 stay below SAME, and none below this."""

CLOSE = 0.7
"""Cosine of two descriptions from which on a pair is looked at closely."""

NEIGHBORS = 4
"""Answers to each of a photo's queries."""

ANSWERS = 6
"""Answers that are looked at closely for each photo: so the work per photo is bounded however alike a set is."""

ASKING = 8192
"""Photos whose queries are made at once."""

LAYING = 256
"""Pairs laid over each other at once."""

FLAT = 2.0
"""Standard deviation of a thumbnail, in levels, below which it shows nothing to compare."""

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

FREQUENCIES = tuple((u, v) for u in range(8) for v in range(8) if 0 < u + v <= 9)
CROPS = (
    (0.0, 0.0, 1.0, 1.0),
    *((left, top, 0.9, 0.9) for left, top in ((0.05, 0.05), (0, 0), (0, 0.1), (0.1, 0), (0.1, 0.1))),
)
"""Left, top, width, height of what a photo asks with, as shares of its side."""


@dataclass(frozen=True)
class Twins:
    """Pairs of photo numbers, first < second, int64 [m], and their likeness, float32 [m]: 1 where byte-identical.

    Copies of one file are paired with the first of them only, so a thousand copies are 999 pairs; `clusters` joins
    them.
    """

    first: Numbers
    second: Numbers
    score: Floats

    def __len__(self) -> int:
        return len(self.first)

    def pairs(self) -> Iterator[tuple[int, int, float]]:
        """(first, second, likeness) of every pair, in order."""
        return zip(self.first.tolist(), self.second.tolist(), self.score.tolist(), strict=True)

    def at_least(self, likeness: float) -> Twins:
        """The pairs of at least this likeness."""
        kept = self.score >= likeness
        return Twins(self.first[kept], self.second[kept], self.score[kept])

    @cached_property
    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """The photos joined through pairs: sorted numbers each, sorted by their first one; none of a single photo."""
        union: Union[int] = Union()
        for first, second, _ in self.pairs():
            union.join(first, second)
        members: dict[int, list[int]] = defaultdict(list)
        for node in sorted({*self.first.tolist(), *self.second.tolist()}):
            members[union.root(node)].append(node)
        return tuple(tuple(members[key]) for key in sorted(members))


def near_duplicates(photos: Sequence[Photo], looks: NDArray[np.void], progress: Progress | None = None) -> Twins:
    """All pairs that are at least ALIKE; `looks` come in the order of the photos. The same photos give the same pairs.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    originals: dict[str, int] = {}
    copies: list[tuple[int, int]] = []
    for number, photo in enumerate(photos):
        original = originals.setdefault(photo.sha256, number)
        if original != number:
            copies.append((original, number))
    single = np.fromiter(originals.values(), np.int64, len(originals))
    first, second, score = _similar(looks["thumb"], single, progress or Silent())
    if copies:
        same = np.array(copies, np.int64)
        first, second = np.concatenate([first, same[:, 0]]), np.concatenate([second, same[:, 1]])
        score = np.concatenate([score, np.ones(len(same), np.float32)])
    order = np.lexsort((second, first))
    return Twins(first[order], second[order], score[order])


def describe(thumbs: NDArray[np.uint8], crop: tuple[float, float, float, float] = CROPS[0]) -> Floats:
    """The descriptions of a crop of each thumbnail: float32 [n, 48], of length 1, from uint8 [n, THUMB, THUMB].

    They are the low frequencies of the discrete cosine transform of the crop at 16 x 16, without the constant; high
    ones are weighted up, since pictures of nature have less of them. Light and contrast do not count.
    """
    left, top, width, height = crop
    down, right = _cosines(top, height), _cosines(left, width)
    waves = down @ thumbs.astype(np.float32) @ right.T
    vertical, horizontal = np.array(FREQUENCIES).T
    found = waves[:, vertical, horizontal] * np.hypot(vertical, horizontal).astype(np.float32)
    return np.ascontiguousarray(found / (np.linalg.norm(found, axis=1, keepdims=True) + 1e-3), np.float32)


def _cosines(start: float, length: float, cells: int = 16, waves: int = 8) -> Floats:
    """[waves, THUMB]: the cosine transform (DCT-II) of the mean values of `cells` cells that share out the crop."""
    edges = np.linspace(start * THUMB, (start + length) * THUMB, cells + 1)
    source = np.arange(THUMB)
    shared = np.minimum(edges[1:, None], source + 1) - np.maximum(edges[:-1, None], source)
    means = np.maximum(shared, 0.0) / (edges[1] - edges[0])
    wave, cell = np.arange(waves)[:, None], np.arange(cells)[None, :]
    return np.asarray(np.cos(np.pi * wave * (cell + 0.5) / cells) @ means, np.float32)


def _similar(thumbs: NDArray[np.uint8], single: Numbers, progress: Progress) -> tuple[Numbers, Numbers, Floats]:
    """Twins among the photos of these numbers: first, second, likeness."""
    single = single[_contrast(thumbs, single) >= FLAT]
    if len(single) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    asking, answering, way = _candidates(thumbs, single, progress)
    progress.start("Comparing photos", len(asking))
    parts = [slice(start, start + LAYING) for start in range(0, len(asking), LAYING)]

    def lay(part: slice) -> Floats:
        return _laid_over(thumbs, asking[part], answering[part], way[part])

    found = []
    for scores in in_order(lay, parts):
        found.append(scores)
        progress.advance(len(scores))
    progress.finish()
    score = np.concatenate(found) if found else np.zeros(0, np.float32)
    kept = score >= ALIKE
    asking, answering, score = asking[kept], answering[kept], score[kept]
    return np.minimum(asking, answering), np.maximum(asking, answering), score


def _contrast(thumbs: NDArray[np.uint8], numbers: Numbers) -> Floats:
    parts = [thumbs[numbers[start : start + ASKING]].std(axis=(1, 2)) for start in range(0, len(numbers), ASKING)]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def _laid_over(thumbs: NDArray[np.uint8], asking: Numbers, answering: Numbers, way: NDArray[np.uint8]) -> Floats:
    """The likeness of each pair, from the crop (and mirror) by which it was found: way = 2 * crop + mirrored."""
    first, second = thumbs[asking].astype(np.float32), thumbs[answering].astype(np.float32)
    boxes = np.array(CROPS, np.float32)[way // 2]
    mirrored = way % 2 == 1
    first[mirrored] = first[mirrored][:, :, ::-1]
    boxes[mirrored, 0] = 1 - boxes[mirrored, 0] - boxes[mirrored, 2]
    return likeness(first, second, boxes)


def _candidates(
    thumbs: NDArray[np.uint8], single: Numbers, progress: Progress
) -> tuple[Numbers, Numbers, NDArray[np.uint8]]:
    """Pairs worth a close look, each once: who asked, who answered, and by which way (2 * crop + mirrored)."""
    index = _index()
    parts = [single[start : start + ASKING] for start in range(0, len(single), ASKING)]
    progress.start("Looking for near-duplicates", 2 * len(single))
    for part in parts:
        # One thread: the graph, and with it what is found, then depends on nothing but the photos.
        index.add(part, describe(thumbs[part]), threads=1)
        progress.advance(len(part))
    found = []
    for part in parts:
        found.append(_answers(index, thumbs, part))
        progress.advance(len(part))
    progress.finish()
    asking, answering, way, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    pair = np.minimum(asking, answering) * len(thumbs) + np.maximum(asking, answering)
    kept = _closest(pair, cosine, 1)
    return asking[kept], answering[kept], way[kept]


def _answers(
    index: Any, thumbs: NDArray[np.uint8], part: Numbers
) -> tuple[Numbers, Numbers, NDArray[np.uint8], Floats]:
    """What the photos of `part` are near to: who asked, who answered, by which way, and the cosine."""
    mirror = np.where(np.array(FREQUENCIES)[:, 1] % 2 == 1, -1, 1).astype(np.float32)
    found = []
    for number, crop in enumerate(CROPS):
        asked = describe(thumbs[part], crop)
        for mirrored in (0, 1):
            answers = index.search(asked * mirror if mirrored else asked, NEIGHBORS, threads=0)
            # Where there are fewer photos than neighbors asked for, the rest is not a number.
            cosine = 1.0 - np.where(np.isfinite(answers.distances), answers.distances, 2.0)
            asking = np.repeat(part[:, None], cosine.shape[1], axis=1)
            near = (cosine > CLOSE) & (answers.keys != asking)
            way = np.full(int(near.sum()), 2 * number + mirrored, np.uint8)
            found.append((asking[near], answers.keys[near].astype(np.int64), way, cosine[near].astype(np.float32)))
    columns: list[Any] = [np.concatenate(column) for column in zip(*found, strict=True)]
    kept = _closest(columns[0] * len(thumbs) + columns[1], columns[3], 1)
    columns = [column[kept] for column in columns]
    kept = _closest(columns[0], columns[3], ANSWERS)
    return columns[0][kept], columns[1][kept], columns[2][kept], columns[3][kept]


def _closest(key: Numbers, cosine: Floats, most: int) -> Numbers:
    """The places of the `most` closest finds of each key, sorted by key."""
    order = np.lexsort((-cosine, key))
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[rank < most]


def _index() -> Any:
    try:
        from usearch.index import Index
    except ImportError:
        raise MissingExtraError("train", "Looking for near-duplicates") from None
    return Index(
        ndim=len(FREQUENCIES), metric="ip", dtype="f16", connectivity=12, expansion_add=48, expansion_search=32
    )
