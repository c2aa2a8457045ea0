"""What one row answered under all its seeds, photo by photo, ready to be scored and held against another row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import DataError
from featherlite.evaluate.answers import Answers

__all__ = ["Sheet", "difference", "shared_hits", "sheet_of"]


@dataclass(frozen=True)
class Sheet:
    """Photos sorted by path, str [n]; their classes and the answers as numbers into `names`; seeds in their order."""

    paths: NDArray[np.str_]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    """int64 [n, seeds]"""
    in_top5: NDArray[np.bool_]
    """bool [n, seeds]"""
    seeds: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether each answer was right: bool [n, seeds]."""
        return np.asarray(self.predicted == self.labels[:, None])

    @property
    def top1(self) -> float:
        """Mean share of right answers."""
        return float(self.hits.mean())


def sheet_of(by_seed: Mapping[int, Sequence[Answers]]) -> Sheet:
    """The sheet of a row: for every seed the answers of its folds, or of its one test.

    Raises:
        DataError: two folds tested the same photo, or two seeds different ones.
    """
    columns: dict[int, list[tuple[str, str, str, bool]]] = {}
    for seed, folds in by_seed.items():
        rows = sorted(
            (path, label, predicted, label in top5)
            for answers in folds
            for path, label, predicted, top5 in zip(
                answers.path, answers.label, answers.predicted, answers.top5, strict=True
            )
        )
        twice = next((one[0] for one, two in pairwise(rows) if one[0] == two[0]), None)
        if twice is not None:
            raise DataError(
                f"Two folds tested the same photo ({twice}).",
                "Photos that come with a test split of their own cannot be cut into folds: leave --folds out.",
            )
        columns[seed] = rows
    first = next(iter(columns.values()))
    shown = [(path, label) for path, label, _, _ in first]
    if any([(path, label) for path, label, _, _ in rows] != shown for rows in columns.values()):
        raise DataError("The seeds were tested on different photos.", "Leave split.seed out of the study.")
    names = sorted(
        {name for rows in columns.values() for _, label, predicted, _ in rows for name in (label, predicted)}
    )
    number = {name: place for place, name in enumerate(names)}
    return Sheet(
        paths=np.array([path for path, _ in shown]),
        labels=np.array([number[label] for _, label in shown], np.int64),
        predicted=np.array([[number[row[2]] for row in rows] for rows in columns.values()], np.int64).T,
        in_top5=np.array([[row[3] for row in rows] for rows in columns.values()], np.bool_).T,
        seeds=tuple(columns),
        names=tuple(names),
    )


def shared_hits(one: Sheet, other: Sheet) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The hits of both on the photos and seeds that both have: each bool [photos, seeds]."""
    _, mine, theirs = np.intersect1d(one.paths, other.paths, assume_unique=True, return_indices=True)
    seeds = [seed for seed in one.seeds if seed in other.seeds]
    return (
        one.hits[mine][:, [one.seeds.index(seed) for seed in seeds]],
        other.hits[theirs][:, [other.seeds.index(seed) for seed in seeds]],
    )


def difference(one: Sheet, other: Sheet) -> tuple[NDArray[np.int64], int, int]:
    """One row against another on the photos and seeds that both have: (differences int64 [photos], how many answers
    only the one got right, how many only the other).

    A difference is how many more seeds of the one than of the other were right on that photo.
    """
    hits, others = shared_hits(one, other)
    won, lost = hits & ~others, ~hits & others
    return (won.sum(axis=1) - lost.sum(axis=1)).astype(np.int64), int(won.sum()), int(lost.sum())
