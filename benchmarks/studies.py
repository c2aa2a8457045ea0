"""Runs the studies on real photos and keeps each one's table: the figures about training, distilling and comparing.

    python benchmarks/studies.py [CASE ...] [--out FOLDER] [further words for featherlite compare]

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
ROWS = [
    "MobileNetV2 frozen",
    "MobileNetV2",
    "MobileNetV1 0.25",
    "ResNet18 from scratch",
    "EfficientNetB0 from scratch",
    "MobileNetV2 from scratch",
    "MobileNetV3Small from scratch",
    "MobileNetV4ConvSmall from scratch",
    "SqueezeNet 1.1 from scratch",
    "feathernet from scratch",
]
"""Rows of the shipped study that two cores train in an hour or two; `--only NAME` adds another."""
RECIPES = HERE.parent / "src" / "featherlite" / "recipes"
V1 = '"build.backbone" = "MobileNetV1", "build.width" = 0.25'
APPLY = ["--set", "clean.apply=['label-conflict']"]

CASES = {
    # name: study, photos, further words of the command
    "flowers-teacher": (STUDIES / "flowers-teacher.toml", "flowers", []),
    "flowers-distilled": (STUDIES / "flowers-distilled.toml", "flowers", []),
    "flowers-networks": (
        RECIPES / "comparison-study.toml",
        "flowers",
        [word for row in ROWS for word in ("--only", row)] + APPLY,
    ),
    "flowers-shrinking": (STUDIES / "flowers-shrinking.toml", "flowers", []),
    "flowers-cosine": (STUDIES / "flowers-cosine.toml", "flowers", []),
    "birds": (STUDIES / "birds.toml", "birds", []),
}


def command(case: str, data: Path, out: Path) -> list[str]:
    """The featherlite command of a case, whose study is written to `out` with the paths of this machine filled in.

    Weights from ImageNet are read from $FEATHERLITE_TEST_DATA instead of fetched: those of MobileNetV2 and of
    MobileNetV1 0.25 are there.
    """
    study, photos, words = CASES[case]
    text = study.read_text(encoding="utf-8")
    for mark, path in (
        ('"imagenet"', f'"{data}/weights/mobilenet_v2_1.0_224_imagenet.weights.h5"'),
        (V1, f'{V1}, "build.weights" = "{data}/weights/mobilenet_v1_0.25_128_imagenet.weights.h5"'),
        ('"inat-birds"', f'"{data}/weights/mobilenet_v2_1.0_224_inat_birds.weights.h5"'),
        ('"flowers-teacher"', f'"{out}/flowers-teacher/rows/MobileNetV2 tuned/seed-0/bundle"'),
    ):
        text = text.replace(mark, path)
    out.mkdir(parents=True, exist_ok=True)
    filled = out / f"{case}.toml"
    filled.write_text(text, encoding="utf-8")
    return ["compare", str(filled), "--data", str(data / photos), "--out", str(out / case), *words]


def main() -> None:
    """Runs the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--out", type=Path, default=Path("out/studies"))
    asked, further = parser.parse_known_args()
    unknown = set(asked.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(CASES)}")
    data = Path(os.environ.get("FEATHERLITE_TEST_DATA", "../shared/data")).absolute()
    place = f"{os.cpu_count()}core-{platform.machine()}_tf{version('tensorflow-cpu')}_litert{version('ai-edge-litert')}"
    RESULTS.mkdir(exist_ok=True)
    for case in asked.cases or CASES:
        words = [*command(case, data, asked.out.absolute()), *further]
        print("featherlite", shlex.join(words), flush=True)
        starter = [sys.executable, "-c", "import sys; from featherlite.cli import main; sys.exit(main())"]
        done = subprocess.run([*starter, *words], check=False)
        if done.returncode not in (0, 1):
            sys.exit(done.returncode)
        shutil.copy(asked.out / case / "comparison.csv", RESULTS / f"study_{case}_{place}.csv")


if __name__ == "__main__":
    main()
