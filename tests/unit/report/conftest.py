"""A whole bundle as a run would leave it, with numbers like those of real runs, for any number of classes."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle, Label
from featherlite.data.splits import Splits, write_splits
from featherlite.history import Estimate, Measure, StepReport, wilson
from featherlite.preprocess import Preprocess

Maker = Callable[..., Bundle]


def photo_rows(names: Sequence[str], each: int) -> list[tuple[str, str, str, str | None, str]]:
    rows = []
    for name in names:
        for index in range(each):
            path = f"{name.replace('/', '_')}/{index:03}.jpg"
            share = index / each
            split = "train" if share < 0.7 else "val" if share < 0.85 else "test"
            rows.append((path, hashlib.sha256(path.encode()).hexdigest(), name, None, split))
    return rows


def draw_photos(root: Path, rows: Sequence[tuple[str, str, str, str | None, str]], pixels: int = 200) -> None:
    generator = np.random.default_rng(0)
    for path, *_ in rows:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((pixels, pixels * 3 // 4), Image.Resampling.BICUBIC).save(file, quality=80)


def curve(epochs: int = 24, head: int = 6) -> list[dict[str, Any]]:
    entries = []
    for epoch in range(1, epochs + 1):
        gain = 1 - math.exp(-epoch / 5)
        wobble = 0.012 * math.sin(epoch * 2.3)
        rate = 1e-3 * (epoch / 7 if epoch < 7 else 0.5 * (1 + math.cos(math.pi * (epoch - 7) / (epochs - 6))))
        entries.append(
            {
                "epoch": epoch,
                "phase": "head" if epoch <= head else "all",
                "loss": 1.65 * (1 - gain) + 0.32,
                "train_top1": 0.35 + 0.61 * gain,
                "val_loss": 1.5 * (1 - gain) + 0.45 + wobble,
                "val_top1": 0.38 + 0.53 * gain + wobble,
                "rate": rate,
                "seconds": 11.0,
            }
        )
    return entries


def confusion(generator: random.Random, classes: int, each: int, skill: float) -> list[list[int]]:
    matrix = [[0] * classes for _ in range(classes)]
    for true in range(classes):
        own = min(0.995, max(0.05, skill + generator.uniform(-0.09, 0.07)))
        twin = true ^ 1 if true ^ 1 < classes else (true + 2) % classes
        for _ in range(each):
            draw = generator.random()
            answer = true if draw < own else twin if draw < own + (1 - own) * 0.6 else generator.randrange(classes)
            matrix[true][answer] += 1
    return matrix


def scores(names: Sequence[str], matrix: list[list[int]], paths: Sequence[tuple[str, str]]) -> dict[str, Any]:
    n = sum(map(sum, matrix))
    hits = sum(matrix[index][index] for index in range(len(matrix)))
    per_class = []
    for index, name in enumerate(names):
        answered = sum(row[index] for row in matrix)
        own, right = sum(matrix[index]), matrix[index][index]
        precision = right / answered if answered else None
        both = answered + own
        f1 = 2 * right / both if both else None
        per_class.append({"label": name, "n": own, "precision": precision, "recall": right / own, "f1": f1})
    wrong = [(t, p) for t, row in enumerate(matrix) for p, count in enumerate(row) if t != p for _ in range(count)]
    unused = list(paths)

    def take(label: str) -> str:
        found = next((pair for pair in unused if pair[1] == label), None)
        if found is None:
            return f"{label}/x.jpg"
        unused.remove(found)
        return found[0]

    mistakes = [
        {
            "path": take(names[true]),
            "label": names[true],
            "predicted": names[predicted],
            "probability": 0.993 - 0.013 * index,
        }
        for index, (true, predicted) in enumerate(wrong[:24])
    ]
    value = sum(entry["f1"] or 0.0 for entry in per_class) / len(names)
    return {
        "n": n,
        "split_hash": "5d2f8b1c9e0a7346" * 4,
        "reads": 1,
        "subject": "int8",
        "top1": wilson(hits, n, "test").model_dump(),
        "top5": wilson(min(n, hits + round(0.7 * (n - hits))), n, "test").model_dump(),
        "macro_f1": {"value": value, "low": value - 0.02, "high": value + 0.02},
        "per_class": per_class,
        "confusion": matrix,
        "mistakes": mistakes,
    }


def verification(top1: Estimate, passed: bool) -> dict[str, Any]:
    near = top1.model_dump()
    default = wilson(round(top1.value * top1.n) - 1, top1.n).model_dump()
    network = wilson(min(top1.n, round(top1.value * top1.n) + 2), top1.n, "test").model_dump()
    return {
        "split": "test",
        "exports": [
            {
                "name": "int8",
                "bytes": 310_792,
                "int8_only": True,
                "not_int8": [],
                "arena_bytes": 160_960,
                "ops": [
                    {"op": "CONV_2D", "count": 15},
                    {"op": "DEPTHWISE_CONV_2D", "count": 13},
                    {"op": "MEAN", "count": 1},
                    {"op": "FULLY_CONNECTED", "count": 1},
                ],
                "input": {"shape": [1, 96, 96, 3], "dtype": "int8", "scale": 0.0078125, "zero_point": 0},
                "runtimes": {
                    "keras": {"top1": network, "agreement": 1.0, "max_lsb": 0},
                    "litert": {"top1": default, "agreement": 0.9934, "max_lsb": 4, "max_lsb_network": 9.2},
                    "litert_reference": {"top1": near, "agreement": 0.9918, "max_lsb": 0, "max_lsb_network": 8.6},
                    "tflm": {"top1": near, "agreement": 0.9918, "max_lsb": 1, "max_lsb_network": 8.6},
                },
                "bounds": {"max_lsb": 1, "max_lsb_default": 8, "min_agreement": 0.9, "max_loss": 0.02},
                "passed": passed,
                "failures": [] if passed else ["tflm: agreement 0.9312 with the network is below the bound of 0.98"],
            }
        ],
    }


def measure(top1: Estimate | None, classes: int, subject: str = "network") -> Measure:
    size = 310_792 if subject == "int8" else 876_404
    return Measure(
        subject=subject, input_px=96, classes=classes, parameters=219_101, macs=7_540_000, bytes=size, top1=top1
    )


def report(
    step: str, seconds: float, before: Measure | None, after: Measure | None, test_reads: int = 0, **details: Any
) -> StepReport:
    return StepReport(
        step=step,
        id=step,
        key=hashlib.sha256(step.encode()).hexdigest(),
        config={"seed_offset": 0, "rate": 0.001, "note": None},
        seed=7,
        code="0.1.0+4f1c2a9b",
        started="2026-11-03T09:14:07Z",
        seconds=seconds,
        before=before,
        after=after,
        test_reads=test_reads,
        details=details,
    )


def road(
    names: Sequence[str], rows: Sequence[Any], test: Estimate, chance: Estimate, learned: Estimate
) -> list[StepReport]:
    classes: dict[str, dict[str, int]] = {name: {} for name in names}
    photos: dict[str, int] = {}
    for _, _, name, _, split in rows:
        classes[name][split] = classes[name].get(split, 0) + 1
        photos[split] = photos.get(split, 0) + 1
    count = len(names)
    built, trained = measure(chance, count), measure(learned, count)
    quantized = measure(wilson(round(learned.value * learned.n) - 1, learned.n, "val"), count, "int8")
    tested = measure(test, count, "int8")
    return [
        report("split", 3.2, None, None, classes=classes, photos=photos, kept_together={"units": 9, "photos": 19}),
        report("build", 4.1, None, built),
        report("train", 318.4, built, trained, curve=curve(), fit={"best_epoch": 22}),
        report("quantize", 21.7, trained, quantized, representative={"n": 200, "hash": "ab12", "seed": 7}),
        report("evaluate", 4.9, quantized, tested, test_reads=1),
        report("verify", 11.6, tested, tested, test_reads=2),
    ]


def build(
    out: Path,
    names: Sequence[str],
    rows: Sequence[Any],
    *,
    skill: float = 0.92,
    passed: bool = True,
    each_test: int | None = None,
    without: Sequence[str] = (),
    synthetic: bool = False,
    faults: Sequence[dict[str, str]] = (),
) -> Bundle:
    generator = random.Random(3)
    paths = [(row[0], row[2]) for row in rows if row[4] == "test"]
    matrix = confusion(generator, len(names), each_test or max(1, len(paths) // len(names)), skill)
    metrics = scores(names, matrix, paths)
    test = Estimate.model_validate(metrics["top1"])
    n = max(40, sum(row[4] == "val" for row in rows))
    history = road(names, rows, test, wilson(n // len(names), n, "val"), wilson(round(n * (skill + 0.01)), n, "val"))
    if synthetic:
        history[0].details["synthetic"] = True
    files: dict[str, bytes] = {
        "splits.parquet": write_splits(Splits.from_rows(rows)),
        "preprocess.json": Preprocess().model_dump_json().encode(),
        "model.keras": b"not read by a report",
        "exports/int8/model.tflite": b"nor is this",
        "history.jsonl": b"".join(entry.model_dump_json(exclude_none=True).encode() + b"\n" for entry in history),
    }
    bundle = Bundle(subject="int8").with_files(files).with_labels(tuple(Label(name=name) for name in names))
    bundle = bundle.with_json("metrics.json", {"test": metrics}).with_json("verify.json", verification(test, passed))
    if faults:
        bundle = bundle.with_json("faults.json", list(faults))
    kept = {name: source for name, source in bundle.files.items() if name not in without}
    return Bundle(kept, "int8").save(out)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Maker:
    def make(classes: int | Sequence[str] = 5, each: int = 20, **options: Any) -> Bundle:
        names = [f"Species {index:03}" for index in range(classes)] if isinstance(classes, int) else list(classes)
        return build(tmp_path / "out" / "bundle", names, photo_rows(names, each), **options)

    return make
