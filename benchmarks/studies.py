"""Runs the studies on real photos and keeps each one's table: the figures about training, distilling and comparing.

    python benchmarks/studies.py [CASE ...] [--out FOLDER]

Needs $FEATHERLITE_TEST_DATA with `flowers`, `birds` and `weights`. Without a case it runs them all, in an order in
which each finds the teacher that it needs: many hours on two cores. A study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STUDIES = HERE / "studies"
V2 = "weights/mobilenet_v2_1.0_224_imagenet.weights.h5"
V2_BIRDS = "weights/mobilenet_v2_1.0_224_inat_birds.weights.h5"
TEACHER = "flowers-teacher/rows/MobileNetV2 tuned/seed-0/bundle"

CASES = {
    # name: study, photos, rows, overrides ({data} and {out} are filled in)
    "flowers-teacher": (STUDIES / "flowers-teacher.toml", "flowers", [], [f"build.weights='{{data}}/{V2}'"]),
    "flowers-distilled": (
        STUDIES / "flowers-distilled.toml",
        "flowers",
        [],
        [f"distill.teacher=['{{out}}/{TEACHER}']"],
    ),
    "birds-imagenet": (
        STUDIES / "birds.toml",
        "birds",
        ["ImageNet frozen", "ImageNet tuned"],
        [f"build.weights='{{data}}/{V2}'"],
    ),
    "birds-inat": (
        STUDIES / "birds.toml",
        "birds",
        ["iNaturalist frozen", "iNaturalist tuned"],
        [f"build.weights='{{data}}/{V2_BIRDS}'"],
    ),
    "flowers-networks": (
        "comparison-study",
        "flowers",
        [
            "ResNet18 from scratch",
            "ResNet34 from scratch",
            "ResNet50 from scratch",
            "EfficientNetB0 from scratch",
            "EfficientNetB1 from scratch",
            "EfficientNetB2 from scratch",
            "ConvNeXtTiny from scratch",
            "MobileNetV2 from scratch",
            "SqueezeNet 1.1 from scratch",
            "feathernet from scratch",
        ],
        ["clean.apply=['label-conflict']"],
    ),
}


def command(case: str, data: Path, out: Path) -> list[str]:
    """The featherlite command of a case."""
    study, photos, rows, overrides = CASES[case]
    words = ["compare", str(study), "--data", str(data / photos), "--out", str(out / case)]
    words += [word for row in rows for word in ("--only", row)]
    return words + [word for one in overrides for word in ("--set", one.format(data=data, out=out))]


def main() -> None:
    """Runs the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--out", type=Path, default=Path("out/studies"))
    asked = parser.parse_args()
    unknown = set(asked.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    data = Path(os.environ.get("FEATHERLITE_TEST_DATA", "../shared/data")).absolute()
    place = f"{os.cpu_count()}core-{platform.machine()}_tf{version('tensorflow-cpu')}_litert{version('ai-edge-litert')}"
    RESULTS.mkdir(exist_ok=True)
    for case in asked.cases or CASES:
        words = command(case, data, asked.out.absolute())
        print("featherlite", shlex.join(words), flush=True)
        starter = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())"]
        done = subprocess.run([*starter, *words], check=False)
        if done.returncode not in (0, 1):
            sys.exit(done.returncode)
        shutil.copy(asked.out / case / "comparison.csv", RESULTS / f"study_{case}_{place}.csv")


if __name__ == "__main__":
    main()
