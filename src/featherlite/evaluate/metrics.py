"""Scores from logits in plain NumPy: top-k, confusion, precision, recall, F1 and their intervals.

Ties are broken by index everywhere, the lowest class first. That is what the predictor answers, so the score is that of
the answers a user gets; int8 logits tie often enough for the choice to be visible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import DataError
from featherlite.history import wilson
from featherlite.preprocess import softmax

__all__ = ["confusion", "macro_f1", "macro_f1_interval", "paired_loss", "per_class", "ranking", "scores", "top_k_hits"]

Logits = NDArray[np.float32]
Integers = NDArray[np.int64]

RESAMPLES = 1000
MISTAKES = 24
"""How many of the most confident mistakes are kept: what a page can show and a person can look at."""


def ranking(logits: Logits, k: int) -> Integers:
    """The k best classes of each row, best first: int64 [n, min(k, classes)]; equal logits in order of index."""
    order = np.argsort(-logits.astype(np.float64), axis=1, kind="stable")
    return np.asarray(order[:, :k], dtype=np.int64)


def top_k_hits(logits: Logits, labels: Integers, k: int) -> int:
    """How many rows of the logits [n, classes] have their true class (int64 [n]) among the k best."""
    return int((ranking(logits, k) == labels[:, None]).any(axis=1).sum())


def confusion(labels: Integers, predicted: Integers, classes: int) -> Integers:
    """Photos by true class (row) and predicted class (column): int64 [classes, classes]."""
    cells = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return np.asarray(cells.reshape(classes, classes), dtype=np.int64)


def per_class(matrix: Integers, names: Sequence[str]) -> list[dict[str, Any]]:
    """Photos, precision, recall and F1 of each class of a confusion matrix, in the order of the classes.

    A share of nothing is None: the precision of a class that was never predicted, the recall of one without photos,
    the F1 of one that is neither.
    """
    hits, true, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    return [
        {
            "label": name,
            "n": int(true[index]),
            "precision": _share(hits[index], predicted[index]),
            "recall": _share(hits[index], true[index]),
            "f1": _share(2 * hits[index], true[index] + predicted[index]),
        }
        for index, name in enumerate(names)
    ]


def macro_f1(matrix: Integers) -> float:
    """The mean F1 over the classes that occur among the true or the predicted ones."""
    occurrences = matrix.sum(axis=1) + matrix.sum(axis=0)
    return _mean_f1(matrix.diagonal(), occurrences)


def macro_f1_interval(matrix: Integers, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 95% percentile bootstrap interval (low, high) of the macro-F1, photos resampled with replacement.

    A photo counts only through its cell of the matrix, so the cells are drawn from a multinomial distribution: the
    same distribution as drawing the photos, at the cost of the non-empty cells instead of the photos. One draw is held
    at a time, so that memory grows with the cells and not with cells times classes or draws.

    Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13 (percentile interval).
    """
    rows, columns = np.nonzero(matrix)
    weights = matrix[rows, columns].astype(np.float64)
    classes, correct, photos = len(matrix), rows == columns, int(weights.sum())
    shares, random = weights / weights.sum(), np.random.default_rng(seed)

    def resampled() -> float:
        drawn = random.multinomial(photos, shares)
        hits = np.bincount(rows[correct], drawn[correct], classes)
        return _mean_f1(hits, np.bincount(rows, drawn, classes) + np.bincount(columns, drawn, classes))

    low, high = np.percentile([resampled() for _ in range(resamples)], [2.5, 97.5])
    return float(low), float(high)


def paired_loss(reference_hits: NDArray[np.bool_], hits: NDArray[np.bool_]) -> tuple[float, bool]:
    """How much top-1 is lost against a reference on the same photos, and whether that is more than chance.

    Both bool [n]. The loss is positive where the reference is better. It is more than chance where the one-sided
    exact probability of at least so many lost photos among those that changed is below 2.5%.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), in its exact binomial form.
    """
    lost, won = int((reference_hits & ~hits).sum()), int((~reference_hits & hits).sum())
    return (lost - won) / len(hits), _binomial_tail(lost, lost + won) < 0.025


def scores(
    logits: Logits,
    labels: Integers,
    names: Sequence[str],
    paths: Sequence[str],
    *,
    split: str,
    split_hash: str,
    subject: str,
    reads: int,
    seed: int = 0,
) -> dict[str, Any]:
    """One split's entry of metrics.json, from logits float32 [n, classes] and true classes int64 [n].

    Raises:
        DataError: there is no photo, or a logit is not a number.
    """
    if not len(labels):
        raise DataError(
            f"The {split} split has no photos, so nothing can be measured on it.",
            "Give more photos, or a larger share in the split step.",
        )
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits).all(axis=1)).sum())
        raise DataError(f"The {subject} answers {bad} of {len(labels)} photos with values that are not numbers.")
    best = ranking(logits, 1)[:, 0]
    matrix = confusion(labels, best, len(names))
    low, high = macro_f1_interval(matrix, seed)
    return {
        "n": len(labels),
        "split_hash": split_hash,
        "reads": reads,
        "subject": subject,
        "top1": wilson(int(matrix.trace()), len(labels), split).model_dump(),
        "top5": wilson(top_k_hits(logits, labels, 5), len(labels), split).model_dump(),
        "macro_f1": {"value": macro_f1(matrix), "low": low, "high": high},
        "per_class": per_class(matrix, names),
        "confusion": matrix.tolist(),
        "mistakes": _mistakes(logits, labels, best, names, paths),
    }


def _mistakes(
    logits: Logits, labels: Integers, best: Integers, names: Sequence[str], paths: Sequence[str]
) -> list[dict[str, Any]]:
    """The wrong answers of which the network was surest, surest first."""
    wrong = np.flatnonzero(best != labels)
    sureness = softmax(logits[wrong].astype(np.float32))[np.arange(len(wrong)), best[wrong]]
    order = np.argsort(-sureness, kind="stable")[:MISTAKES]
    return [
        {
            "path": paths[index],
            "label": names[labels[index]],
            "predicted": names[best[index]],
            "probability": round(float(probability), 6),
        }
        for index, probability in zip(wrong[order], sureness[order], strict=True)
    ]


def _mean_f1(hits: NDArray[Any], occurrences: NDArray[Any]) -> float:
    """The macro-F1 from hits and (true + predicted) counts, both numbers [classes]."""
    f1 = np.divide(2 * hits, occurrences, out=np.zeros(len(hits)), where=occurrences > 0)
    return float(f1.sum() / (occurrences > 0).sum())


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def _binomial_tail(at_least: int, n: int) -> float:
    """The probability of `at_least` heads or more in n throws of a fair coin."""
    whole = math.lgamma(n + 1) - n * math.log(2)
    terms = (whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(at_least, n + 1))
    return math.fsum(math.exp(term) for term in terms)
