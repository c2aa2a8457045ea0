"""Times whole processes: `featherlite --help` and `featherlite predict` on one photo, beside a bare Python.

python benchmarks/startup.py BUNDLE PHOTO
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROUNDS = 15


def median_seconds(words: list[str]) -> tuple[float, float]:
    """Median and largest wall time of the whole process, over the rounds after a first, unmeasured one."""
    times = []
    for _ in range(ROUNDS + 1):
        clock = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        times.append(time.perf_counter() - clock)
    return statistics.median(times[1:]), max(times[1:])


def main(bundle: str, photo: str) -> None:
    """Measures and writes the result beside the others."""
    featherlite = str(Path(sys.executable).parent / "featherlite")
    cases = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
        "featherlite --help": [featherlite, "--help"],
        "featherlite predict (one photo)": [featherlite, "predict", bundle, photo],
    }
    rows = [(name, *median_seconds(words)) for name, words in cases.items()]
    bare = rows[0][1]
    place = f"{os.cpu_count()}core-{platform.machine()}_py{platform.python_version()}_litert{version('ai-edge-litert')}"
    path = Path(__file__).parent / "results" / f"startup_{place}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["process", "median_s", "largest_s", "times_bare_python", "rounds"])
        for name, median, largest in rows:
            writer.writerow([name, round(median, 3), round(largest, 3), round(median / bare, 1), ROUNDS])
            print(f"{name:<34} {median:.3f} s (largest {largest:.3f})")
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
