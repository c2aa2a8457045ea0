"""Walks the shipped recipes on real photos and writes each ladder as a CSV: the figures behind the README.

    python benchmarks/ladders.py [CASE ...] [--out FOLDER]

Needs $FEATHERLITE_TEST_DATA with `flowers`, `birds` and `weights`. Without a case it runs them all (several hours on
two cores). A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
V1 = "weights/mobilenet_v1_0.25_128_imagenet.weights.h5"
V2 = "weights/mobilenet_v2_1.0_224_imagenet.weights.h5"
V2_BIRDS = "weights/mobilenet_v2_1.0_224_inat_birds.weights.h5"
CLEAN = ["clean.apply=label-conflict"]
"""Eight photos, four pictures twice, stand under two labels: they are left out."""

BEARABLE = [
    "build.weights=none",
    "build.input_px=96",
    "train.progressive=[64,96]",
    "train.head_epochs=0",
    "train.epochs=12",
]
"""A large network from scratch, at a size and for a time that two cores bear."""

FOUR_A_SPECIES = ["split.test_files='*/4.jpg'", "split.val=0"]
VALIDATED = ["split.test_files='*/4.jpg'", "split.val_files='*/3.jpg'"]
"""Surgery needs validation photos: two a species are left to train on."""

CASES: dict[str, tuple[str, str, str | None, list[str]]] = {
    # name: recipe, photos, weights file, overrides
    "flowers_mcu-small": ("mcu-small", "flowers", V1, CLEAN),
    "flowers_mcu": ("mcu", "flowers", V1, CLEAN),
    "flowers_mcu-small-scratch": ("mcu-small-scratch", "flowers", None, CLEAN),
    "flowers_mcu-scratch": ("mcu-scratch", "flowers", None, CLEAN),
    "flowers_avian-attention": ("avian-attention", "flowers", None, CLEAN + BEARABLE),
    "flowers_tinyml-birds": ("tinyml-birds", "flowers", None, []),
    "flowers_tinyml-birds-quick": ("tinyml-birds-quick", "flowers", None, []),
    "birds_tinyml-mobilenet": ("tinyml-mobilenet", "birds", V2_BIRDS, VALIDATED),
    "birds_phone-inat": ("phone", "birds", V2_BIRDS, FOUR_A_SPECIES),
    "birds_phone-imagenet": ("phone", "birds", V2, FOUR_A_SPECIES),
}


def command(case: str, data: Path, out: Path) -> list[str]:
    """The featherlite command of a case."""
    recipe, photos, weights, overrides = CASES[case]
    settings = [*overrides, f"build.weights='{data / weights}'"] if weights else overrides
    words = ["run", recipe, "--data", str(data / photos), "--out", str(out / case)]
    return words + [word for setting in settings for word in ("--set", setting)]


def write(case: str, rows: list[dict[str, Any]]) -> Path:
    """One line a row of the ladder; the file's name says on what it was measured."""
    place = f"{os.cpu_count()}core-{platform.machine()}_tf{version('tensorflow-cpu')}_litert{version('ai-edge-litert')}"
    path = RESULTS / f"ladder_{case}_{place}.csv"
    RESULTS.mkdir(exist_ok=True)
    columns = [
        "step",
        "subject",
        "input_px",
        "classes",
        "parameters",
        "macs",
        "bytes",
        "arena_bytes",
        "activation_bytes",
    ]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "split", "n", "top1", "low", "high", "seconds", "sets", "sets_low", "sets_high"])
        for row in rows:
            top1 = row.get("top1") or {}
            rates = [round(top1[key], 4) if top1 else None for key in ("value", "low", "high")]
            scores = [top1.get("split"), top1.get("n"), *rates]
            told = row | {"step": row["id"]}  # a chain takes some steps more than once
            sets = row.get("stability") or {}
            spread = [sets["sets"], round(sets["min"], 4), round(sets["max"], 4)] if sets else [None] * 3
            writer.writerow([*(told.get(column) for column in columns), *scores, row.get("seconds"), *spread])
        verified = next((row["runtimes"] for row in rows if "runtimes" in row), {})
        for name, runtime in verified.items():
            top1 = runtime["top1"]
            scores = [top1["split"], top1["n"], *(round(top1[k], 4) for k in ("value", "low", "high"))]
            writer.writerow([f"verify: {name}", *[None] * (len(columns) - 1), *scores, *[None] * 4])
    return path


def main() -> None:
    """Runs the cases asked for."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cases", nargs="*", choices=[*CASES, []], default=[])
    arguments.add_argument("--out", type=Path, default=Path("out"))
    options = arguments.parse_args()
    data = Path(os.environ.get("FEATHERLITE_TEST_DATA", "../shared/data")).resolve()
    for case in options.cases or CASES:
        words = command(case, data, options.out)
        print("featherlite", *words, flush=True)
        done = subprocess.run([Path(sys.executable).parent / "featherlite", *words, "--json"], stdout=subprocess.PIPE)
        document = json.loads(done.stdout)
        if done.returncode:
            print(f"  failed: {document['error']['message']}")
            continue
        print(f"  {write(case, document['rows'])}")


if __name__ == "__main__":
    main()
