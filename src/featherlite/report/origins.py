"""Where a model comes from, as a page shows it: the photos that went in, and the steps, seeds and hashes behind it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherlite.bundle import NETWORK, Bundle
from featherlite.history import StepReport
from featherlite.report.documents import Scores
from featherlite.report.thumbnails import Thumbnails, without_places

__all__ = ["photos_view", "provenance_view"]

SPLITS = ("train", "val", "calibration", "test")
ALL_CLASSES = 30
ENDS = 8
FAULTS = 20
SAMPLED_CLASSES = 40
"""Classes of which sample photos are shown, at most; each costs some kilobytes of page."""


def photos_view(bundle: Bundle, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Photos per split and class, faults, duplicates and samples; None where the bundle knows of no photos."""
    reports = [report for report in bundle.history if isinstance(report.details.get("classes"), Mapping)]
    details: Mapping[str, Any] = reports[-1].details if reports else {}
    photos = _photos(bundle)
    counts = _counts(photos) if photos else _recorded(details)
    if not counts:
        return None
    splits = [*(name for name in SPLITS if name in counts), *sorted(set(counts) - set(SPLITS))]
    labels = sorted({label for split in counts.values() for label in split}, key=str.casefold)
    rows: list[dict[str, Any]] = [
        {"label": label, "counts": [counts[split].get(label, 0) for split in splits]} for label in labels
    ]
    for row in rows:
        row["n"] = sum(row["counts"])
    most = max((row["n"] for row in rows), default=1) or 1
    rare = sorted(rows, key=lambda row: (row["n"], row["label"]))
    few = len(rows) <= ALL_CLASSES
    faults = _faults(bundle)
    together = details.get("kept_together")
    return {
        "splits": splits,
        "totals": [sum(counts[split].values()) for split in splits],
        "n": sum(row["n"] for row in rows),
        "classes": len(rows),
        "rows": rows if few else rare[:ENDS] + rare[-ENDS:],
        "more": 0 if few else len(rows) - 2 * ENDS,
        "most": most,
        "least": rare[0]["n"] if rare else 0,
        "faults": [
            {key: without_places(str(fault.get(key, "")), thumbnails.root) for key in ("path", "reason", "message")}
            for fault in faults[:FAULTS]
        ],
        "more_faults": max(0, len(faults) - FAULTS),
        "fault_count": len(faults),
        "audited": bool(reports),
        "together": together if isinstance(together, Mapping) else None,
        "samples": _samples(photos, labels, thumbnails),
        "more_samples": max(0, len(labels) - SAMPLED_CLASSES),
        "root": bool(thumbnails),
    }


def _photos(bundle: Bundle) -> list[dict[str, Any]]:
    """One mapping a photo of splits.parquet: path, sha256, label, split; empty where there is none."""
    if "splits.parquet" not in bundle:
        return []
    from featherlite.data.splits import read_splits

    return [
        {"path": path, "sha256": sha256, "label": label, "split": split}
        for path, sha256, label, _, split in read_splits(bundle).rows()
    ]


def _counts(photos: Sequence[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for photo in photos:
        counts[photo["split"]][photo["label"]] += 1
    return counts


def _recorded(details: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """The counts that the split step recorded, for a bundle without its table."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, splits in details.get("classes", {}).items():
        for split, count in splits.items():
            counts[split][label] += count
    return counts


def _faults(bundle: Bundle) -> list[Mapping[str, Any]]:
    """The files that the split step did not use: path, reason, message."""
    listed = bundle.read_json("faults.json") if "faults.json" in bundle else []
    return [fault for fault in listed if isinstance(fault, Mapping)] if isinstance(listed, list) else []


def _samples(
    photos: Sequence[Mapping[str, Any]], labels: Sequence[str], thumbnails: Thumbnails
) -> list[dict[str, Any]]:
    """A few training photos of each class, the same ones each time: those with the lowest content hash."""
    each = 6 if len(labels) <= 6 else 4 if len(labels) <= 12 else 2 if len(labels) <= 24 else 1
    by_label: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for photo in photos if thumbnails else ():
        if photo["split"] == "train":
            by_label[photo["label"]].append(photo)
    samples = []
    for label in labels[:SAMPLED_CLASSES]:
        chosen = sorted(by_label[label], key=lambda photo: str(photo["sha256"]))[: each + 2]
        images = [image for image in (thumbnails.of(photo["path"]) for photo in chosen) if image][:each]
        if images:
            samples.append({"label": label, "images": images})
    return samples


def provenance_view(bundle: Bundle, test: Scores | None, *roots: Path | None) -> dict[str, Any]:
    """Versions, seeds, the recipe as it ran and the hashes, with no folder of the machine among them."""
    history = bundle.history
    files = [NETWORK, "splits.parquet", *(f"exports/{name}/model.tflite" for name in bundle.exports)]
    return {
        "id": bundle.id,
        "parent": bundle.parent,
        "codes": sorted({report.code for report in history}),
        "seeds": sorted({report.seed for report in history}),
        "started": history[0].started if history else None,
        "seconds": sum(report.seconds for report in history),
        "split_hash": test.split_hash if test else None,
        "reads": test.reads if test else None,
        "steps": [_step(report, *roots) for report in history],
        "files": [(name, hashlib.sha256(bundle.read(name)).hexdigest()) for name in files if name in bundle],
    }


def _step(report: StepReport, *roots: Path | None) -> dict[str, Any]:
    settings = [(name, json.dumps(value, ensure_ascii=False)) for name, value in report.config.items()]
    return {
        "id": report.id,
        "step": report.step,
        "key": report.key,
        "settings": [(name, without_places(text, *roots)) for name, text in settings],
    }
