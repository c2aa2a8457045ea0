"""What the scores of a split say, as a page shows them: confusions, best and worst classes, confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featherlite.history import wilson
from featherlite.report.documents import ClassScore, Scores
from featherlite.report.thumbnails import Thumbnails, without_places

__all__ = ["classes_view", "confusion_view", "guessing", "mistakes_view"]

MATRIX_CLASSES = 30
"""With more classes than this a matrix is a gray square; the confused pairs are listed instead."""
PAIRS = 20
ALL_CLASSES = 16
"""Up to this many classes are all listed; of more, the weakest and the best."""
ENDS = 8
MISTAKES = 24


def guessing(scores: Scores) -> float | None:
    """The share of photos that always answering the commonest class would get right; None where it is unknown."""
    counts = [sum(row) for row in scores.confusion] or [entry.n for entry in scores.per_class]
    total = sum(counts)
    return max(counts) / total if total else None


def confusion_view(scores: Scores, names: Sequence[str]) -> dict[str, Any] | None:
    """The matrix with a shade for each cell, or the most confused pairs; None where there is no matrix."""
    size = len(scores.confusion)
    if size < 2 or any(len(row) != size for row in scores.confusion):
        return None
    names = [*names, *(str(index) for index in range(len(names), size))][:size]
    wrong = sum(count for i, row in enumerate(scores.confusion) for j, count in enumerate(row) if i != j)
    pairs = _pairs(scores, names)
    view: dict[str, Any] = {"n": sum(map(sum, scores.confusion)), "wrong": wrong}
    once = all(pair["count"] == 1 for pair in pairs)  # then their order is the alphabet's, and a long list tells little
    shown = 8 if size <= MATRIX_CLASSES or once else PAIRS
    view |= {"pairs": pairs[:shown], "more": max(0, len(pairs) - shown), "once": once, "rows": []}
    if size <= MATRIX_CLASSES:
        for i, row in enumerate(scores.confusion):
            total = sum(row)
            cells = [{"count": count, "hit": i == j, "shade": _shade(count, total)} for j, count in enumerate(row)]
            view["rows"].append({"label": names[i], "n": total, "cells": cells})
        view["labels"] = names
        view["dense"] = size > 12
    return view


def _pairs(scores: Scores, names: Sequence[str]) -> list[dict[str, Any]]:
    found = [
        {"true": names[i], "predicted": names[j], "count": count, "n": sum(row), "share": count / sum(row)}
        for i, row in enumerate(scores.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(found, key=lambda pair: (-pair["count"], -pair["share"], pair["true"], pair["predicted"]))


def _shade(count: int, total: int) -> int:
    """0 for nothing, then 1..5 by the share of the row; no shade is so even a gray that neither ink reads on it."""
    if not count:
        return 0
    return 1 + sum(count / total >= bound for bound in (0.08, 0.2, 0.45, 0.75))


def classes_view(scores: Scores) -> dict[str, Any] | None:
    """The classes from weak to strong (all, or the two ends); None where no class was scored."""
    scored = [entry for entry in scores.per_class if entry.n]
    if not scored:
        return None
    rows = sorted((_class_row(entry) for entry in scored), key=lambda row: (row["order"], row["label"]))
    few = len(rows) <= ALL_CLASSES
    counts = sorted(entry.n for entry in scored)
    return {
        "all": rows if few else [],
        "worst": [] if few else rows[:ENDS],
        "best": [] if few else sorted(rows, key=_best_first)[:ENDS],
        "more": 0 if few else len(rows) - 2 * ENDS,
        "perfect": sum(row["recall"] == 1 for row in rows),
        "missed": sum(row["recall"] == 0 for row in rows),
        "count": len(rows),
        "without": len(scores.per_class) - len(scored),
        "median_n": counts[len(counts) // 2],
    }


def _best_first(row: dict[str, Any]) -> tuple[float, float, int, str]:
    f1, recall, few = row["order"]
    return (-f1, -recall, few, row["label"])


def _class_row(entry: ClassScore) -> dict[str, Any]:
    recall = entry.recall if entry.recall is not None else 0.0
    bounds = wilson(min(entry.n, max(0, round(recall * entry.n))), entry.n)
    f1 = entry.f1 if entry.f1 is not None else 0.0
    return {
        "label": entry.label,
        "n": entry.n,
        "precision": entry.precision,
        "recall": recall,
        "f1": entry.f1,
        "low": bounds.low,
        "high": bounds.high,
        "order": (f1, recall, -entry.n),
    }


def mistakes_view(scores: Scores, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """The most confident mistakes with their thumbnails; None where none are known."""
    if not scores.mistakes:
        return None
    shown = sorted(scores.mistakes, key=lambda mistake: -mistake.probability)[:MISTAKES]
    entries = [
        {
            "path": without_places(mistake.path),
            "label": mistake.label,
            "predicted": mistake.predicted,
            "probability": mistake.probability,
            "image": thumbnails.of(mistake.path),
        }
        for mistake in shown
    ]
    return {"entries": entries, "pictures": any(entry["image"] for entry in entries), "root": bool(thumbnails)}
