"""What happened on the way, as a page shows it: the ladder, the learning curves, and what verify found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from featherlite.history import Estimate, StepReport
from featherlite.report.curves import Band, Series, curve_plot
from featherlite.report.descent import Rung, descent_plot, rungs_of
from featherlite.report.documents import RUNTIME_NAMES, ExportCheck
from featherlite.report.ladder import Row, changes
from featherlite.report.ladder_words import arena_text, stability_text
from featherlite.report.plots import Point, ladder_plot
from featherlite.report.thumbnails import without_places

__all__ = ["checks_view", "curves_view", "ladder_view"]

PHASES = {"head": "head only", "all": "all layers"}


def ladder_view(rows: Sequence[Row], *roots: Path | None) -> dict[str, Any] | None:
    """The rows with their changes, drawn for a wide and a narrow screen: accuracy against bytes, and the descent."""
    if not rows:
        return None
    points = _rungs(rows)
    # What an untrained network scores would press all the differences that matter into one line.
    learned = [point for point in points if point.top1.beats_guessing(point.classes)] or points
    entries = []
    for row, change in zip(rows, changes(rows), strict=True):
        warnings = [without_places(text, *roots) for text in row["warnings"]]
        told = {"name": _name(row), "change": change, "arena": arena_text(row), "warnings": warnings}
        entries.append(row | told)
    chain = rungs_of(rows, _name)
    return {
        "rows": entries,
        "descent": _descent(chain) if chain else None,
        "stability": [text for row in rows if (text := stability_text(row))],
        "weighed": any(entry["arena"] for entry in entries),
        "wide": ladder_plot(learned) if learned else None,
        "narrow": ladder_plot(learned, 340, 310) if learned else None,
        "left_out": [point.name for point in points if point not in learned],
        "photos": list(dict.fromkeys(point.top1.photos for point in learned)),
        "warnings": [(entry["name"], text) for entry in entries for text in entry["warnings"]],
    }


def _rungs(rows: Sequence[Row]) -> list[Point]:
    """The scored rows as points; of steps in a row that found the very same, the last stands for all.

    An artefact above a network was a look aside: the way did not go on from there.
    """
    points: list[Point] = []
    last = max((place for place, row in enumerate(rows) if row["subject"] == "network"), default=0)
    most = max([row["classes"] or 0 for row in rows], default=0)  # for the row of a verdict that stands by itself
    for place, row in enumerate(rows):
        aside = place < last and row["subject"] not in (None, "network")
        if row["top1"] and (row["bytes"] or 0) > 0 and not aside:
            point = Point(_name(row), row["bytes"], Estimate.model_validate(row["top1"]), row["classes"] or most)
            if points and (points[-1].bytes, points[-1].top1) == (point.bytes, point.top1):
                points.pop()
            points.append(point)
    return points


def _descent(chain: Sequence[Rung]) -> dict[str, Any]:
    """The descent for a wide screen, and in two drawings for a narrow one."""
    halves = [descent_plot(chain, 340, columns) for columns in (("top-1", "size"), ("arena", "MACs"))]
    return {"wide": descent_plot(chain), "narrow": halves, "estimated": any(not rung.measured for rung in chain)}


def _name(row: Row) -> str:
    subject = row["subject"]
    return row["id"] if subject in (None, "network") or subject in row["id"] else f"{row['id']} {subject}"


def curves_view(history: Sequence[StepReport], *roots: Path | None) -> list[dict[str, Any]]:
    """Loss, accuracy and rate of each step that trained."""
    return [view for report in history if (view := _curves(report, roots)) is not None]


def _curves(report: StepReport, roots: Sequence[Path | None]) -> dict[str, Any] | None:
    recorded = report.details.get("curve")
    curve = [entry for entry in recorded if isinstance(entry, Mapping)] if isinstance(recorded, list) else []
    if not curve:
        return None
    numbers = [entry.get("epoch", index) for index, entry in enumerate(curve)]
    epochs = [float(number) if isinstance(number, int | float) else 0.0 for number in numbers]
    fitted = report.details.get("fit")
    best = fitted.get("best_epoch") if isinstance(fitted, Mapping) else None
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        epochs, best = [float(index + 1) for index in range(len(curve))], None
    bands = []
    for phase, group in groupby(zip(epochs, curve, strict=True), key=lambda pair: str(pair[1].get("phase") or "")):
        stretch = [epoch for epoch, _ in group]
        if phase:
            bands.append(Band(PHASES.get(phase, phase), stretch[0], stretch[-1]))

    def series(name: str, kind: str, key: str) -> Series:
        pairs = [(epoch, entry.get(key)) for epoch, entry in zip(epochs, curve, strict=True)]
        known = [(epoch, float(value)) for epoch, value in pairs if isinstance(value, int | float)]
        return Series(name, kind, tuple(epoch for epoch, _ in known), tuple(value for _, value in known))

    mark = float(best) if isinstance(best, int | float) and best in epochs else None
    accuracy = [series("train", "train", "train_top1"), series("validation", "val", "val_top1")]
    loss = [series("train", "train", "loss"), series("validation", "val", "val_loss")]
    plots = [
        ("Top-1 accuracy", curve_plot("Top-1 accuracy", accuracy, bands, mark, share=True)),
        ("Loss", curve_plot("Loss", loss, bands, mark)),
        ("Learning rate", curve_plot("Learning rate", [series("rate", "rate", "rate")], bands)),
    ]
    kept = next((entry for epoch, entry in zip(epochs, curve, strict=True) if epoch == mark), None)
    return {
        "id": report.id,
        "plots": [(name, plot) for name, plot in plots if plot is not None],
        "epochs": len(curve),
        "best": f"{mark:g}" if mark is not None else None,
        "kept": kept,
        "none_better": mark is None and best == 0,
        "phased": len(bands) > 1,
        "seconds": report.seconds,
        "warnings": [without_places(str(text), *roots) for text in report.details.get("warnings", [])],
    }


def checks_view(checks: Sequence[ExportCheck], subject: str, *roots: Path | None) -> list[dict[str, Any]]:
    """What verify found about each artefact, first the one that speaks for the bundle: its `subject`."""
    ordered = sorted(checks, key=lambda check: check.name != subject)
    return [
        {
            "check": check,
            "runtimes": [(RUNTIME_NAMES.get(name, name), name, found) for name, found in check.runtimes.items()],
            "ops": sorted(check.ops, key=lambda op: (-op.count, op.op)),
            "op_count": sum(op.count for op in check.ops),
            "not_int8": [without_places(str(entry), *roots) for entry in check.not_int8[:20]],
            "failures": [without_places(text, *roots) for text in check.failures],
            "input": list(check.input.items()),
            "bounds": list(check.bounds.items()),
            "has_tflm": "tflm" in check.runtimes,
            "from_reference": any(run.max_lsb is not None for run in check.runtimes.values()),
            "from_network": any(run.max_lsb_network is not None for run in check.runtimes.values()),
        }
        for check in ordered
    ]
