"""A comparison with MADE-UP numbers, of the size and shape that a real study leaves. None of it was measured."""

from __future__ import annotations

from typing import Any

from featherlite.comparison import Comparison, Latency, Pair, Row, Score, SeedScore, Weigh
from featherlite.history import wilson

PHOTOS = 550
DESCRIPTION = "Made-up numbers to try the page with: nothing here was measured."

# name, model, weights, road, hits, hits of int8, parameters, MACs, ms float32, ms int8, memory in MB, training seconds
FIGURES: tuple[tuple[Any, ...], ...] = (
    ("EfficientNetB0", "EfficientNetB0", "imagenet", "tuned", 527, 519, 4_055_976, 73_600_000, 9.42, 4.31, 19.4, 1840),
    ("MobileNetV2", "MobileNetV2", "imagenet", "tuned", 524, 521, 2_264_389, 57_600_000, 5.13, 2.02, 11.8, 1215),
    ("ConvNeXtTiny", "ConvNeXtTiny", "imagenet", "tuned", 523, 498, 27_824_741, 823e6, 61.7, 31.9, 131.0, 7406),
    ("ResNet50", "ResNet50", "imagenet", "tuned", 517, 514, 23_597_957, 757e6, 41.8, 15.6, 104.2, 4382),
    ("MobileNetV3Small", "MobileNetV3Small", "imagenet", "tuned", 508, 466, 942_005, 11_100_000, 1.94, 1.12, 6.1, 702),
    ("MobileNetV2 frozen", "MobileNetV2", "imagenet", "probe", 497, 494, 2_264_389, 57_600_000, 5.11, 2.04, 11.8, 41),
    ("feathernet taught", "feathernet", "none", "distilled", 489, 486, 187_413, 14_900_000, 2.31, 0.83, 3.4, 2210),
    ("ResNet18", "ResNet18", "none", "trained", 462, 461, 11_179_077, 333e6, 18.9, 7.43, 49.7, 3105),
    ("feathernet", "feathernet", "none", "trained", 451, 447, 187_413, 14_900_000, 2.30, 0.83, 3.4, 1306),
    ("SqueezeNet1_1", "SqueezeNet1_1", "none", "trained", 438, 432, 725_061, 47_900_000, 4.02, 1.77, 6.9, 990),
    ("AlexNet", "AlexNet", "none", "trained", 401, 399, 57_024_325, 96_500_000, 14.2, 6.85, 232.0, 1511),
)
P_BEST = {"EfficientNetB0": 0.45, "MobileNetV2": 0.72, "ConvNeXtTiny": 1.0, "ResNet50": 0.08}
P_VALUES = (1.0, 1.0, 1.0, 0.31, 0.43, 0.9, 0.0082, 0.63, 0.63, 0.00041)


def made_row(
    name: str,
    model: str,
    weights: str,
    road: str,
    hits: int,
    int8_hits: int,
    parameters: float,
    macs: float,
    float_ms: float,
    int8_ms: float,
    memory_mb: float,
    train_seconds: float,
    /,
    **changes: Any,
) -> Row:
    """A row that is done; `changes` replace its fields."""
    top1 = wilson(hits, PHOTOS, "test")
    values: dict[str, Any] = {
        "name": name,
        "model": model,
        "weights": weights,
        "road": road,
        "input_px": 96,
        "seeds": (0, 1, 2),
        "status": "done",
        "top1": top1,
        "top5": wilson((PHOTOS * 9 + hits) // 10, PHOTOS, "test"),
        "macro_f1": Score(value=top1.value - 0.008, low=top1.low - 0.009, high=top1.high - 0.007),
        "per_seed": tuple(
            SeedScore(seed=seed, top1=wilson(hits + change, PHOTOS, "test")) for seed, change in enumerate((-3, 1, 2))
        ),
        "int8_top1": wilson(int8_hits, PHOTOS, "test"),
        "parameters": int(parameters),
        "macs": int(macs),
        "weight_bytes": {
            "float32": int(parameters) * 4,
            "float16": int(parameters) * 2,
            "int8": int(parameters * 1.03),
        },
        "file_bytes": {
            "float32": int(parameters) * 4 + 61_000,
            "float16": int(parameters) * 2 + 70_000,
            "int8": int(parameters * 1.03) + 88_000,
        },
        "latency": tuple(
            Latency(runtime="litert", precision=precision, threads=threads, p50_ms=ms, p95_ms=ms * 1.14, runs=200)
            for precision, one in (("float32", float_ms), ("int8", int8_ms))
            for threads, ms in ((1, one), (2, round(one * 0.61, 3)))
        ),
        "peak_memory_bytes": {"float32": int(memory_mb * 1e6), "int8": int(memory_mb * 0.31e6)},
        "train_seconds": train_seconds,
        "ships": "int8" if hits - int8_hits <= 8 else "float32",
        "tied": hits >= 517,
        "p_best": P_BEST.get(name, 0.0005),
        "efficient": name in ("ConvNeXtTiny", "MobileNetV2", "MobileNetV3Small", "feathernet taught"),
        "out": f"rows/{name}",
    }
    return Row.model_validate(values | changes)


def failed_row(name: str = "EfficientNetB7", error: str = "OutOfMemory: lower batch_size.") -> Row:
    """A row that failed before anything of it was measured."""
    return Row(
        name=name, model="EfficientNetB7", weights="none", road="trained", seeds=(0,), status="failed", error=error
    )


def made_comparison(**changes: Any) -> Comparison:
    """Eleven rows that are done and one that failed; `changes` replace fields of the comparison."""
    rows = tuple(made_row(*figures) for figures in FIGURES)
    pairs = tuple(
        Pair(
            better=better.name,
            worse=worse.name,
            n=PHOTOS,
            only_better=31 + index,
            only_worse=28 - index,
            p_value=p_value,
            significant=p_value < 0.05,
        )
        for index, (better, worse, p_value) in enumerate(zip(rows, rows[1:], P_VALUES, strict=False))
    )
    values: dict[str, Any] = {
        "name": "made-up",
        "title": "Twelve networks on flowers at 96 px",
        "description": DESCRIPTION,
        "machine": {
            "processor": "Made-Up CPU @ 2.00GHz",
            "cores": 2,
            "memory_bytes": 8_200_000_000,
            "system": "Linux 6.1",
            "python": "3.11.2",
            "tensorflow": "2.21.0",
            "ai-edge-litert": "2.0.3",
        },
        "split": "test",
        "n": PHOTOS,
        "interval": "95%: photos and seeds resampled 1,000 times with replacement.",
        "rows": (*rows, failed_row()),
        "pairs": pairs,
        "recommended": "MobileNetV2",
        "reason": "MobileNetV2 in int8: 0.4 points below ConvNeXtTiny in float32 (not significant, p = 0.72), at 2.1% "
        "of its size and 3.3% of its time.",
        "weigh": Weigh(accuracy=1.0, size=0.2, time=0.2),
        "classes": 5,
        "command": "featherlite compare comparison-study --data flowers --out compared",
    }
    return Comparison.model_validate(values | changes)
