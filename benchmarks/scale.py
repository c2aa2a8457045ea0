"""What a photo costs as sets grow: seconds and memory of near-duplicate search, split assignment and manifest reading.

    python benchmarks/scale.py [--counts 10000 100000 1000000] [--parts near split manifest]

No photos are needed: the entries are made up, with thumbnails that have the spectrum of photos, each third a twin.
Every measure is taken in a process of its own; memory is the most that it held, its inputs included.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data.source import Photo

COUNTS = (10_000, 100_000, 1_000_000)
CLASSES = 500
A_FOLDER = 1000
CHUNK = 1536
"""Thumbnails made at once; a multiple of three, and small beside what is measured."""
Row = dict[str, Any]


# ---- made-up sets ------------------------------------------------------------------------------------------------


def photos_of(count: int) -> tuple[Photo, ...]:
    """Photos of 500 classes in bursts of three, sorted by path; every content differs."""
    each = -(-count // CLASSES)
    return tuple(
        Photo(f"{n // each:03d}/{n % each:06d}.jpg", f"{n // each:03d}", f"{n:064x}", 90_000, None, f"burst{n // 3}")
        for n in range(count)
    )


def draw_thumbs(thumbs: NDArray[np.uint8], seed: int = 0) -> None:
    """Fills uint8 [count, side, side] with made-up luma thumbnails: amplitudes fall as 1/f, as in photos of nature.

    Every third shows the picture of the one before it: mirrored or not, lighter or darker, with a little noise.
    """
    count, side = thumbs.shape[:2]
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    envelope = (1 / np.maximum(frequencies, 1 / side)).astype(np.float32)
    for start in range(0, count, CHUNK):
        random = np.random.default_rng([seed, start])
        n = min(CHUNK, count - start)
        noise = np.fft.rfft2(random.standard_normal((n, side, side), np.float32)) * envelope
        pictures = np.fft.irfft2(noise, s=(side, side)).astype(np.float32)
        pictures *= 45 / pictures.std(axis=(1, 2), keepdims=True)
        twins = np.arange(2, n, 3)
        copies = pictures[twins - 1]
        copies[::2] = copies[::2, :, ::-1]
        copies = copies * random.uniform(0.7, 1.2, (len(twins), 1, 1)) + random.normal(0, 2, copies.shape)
        pictures[twins] = copies
        thumbs[start : start + n] = np.clip(np.rint(pictures + 120), 0, 255)


def looks_of(count: int) -> NDArray[np.void]:
    """Looks in which the thumbnail alone is filled in."""
    from featherlite.data.look import look_dtype

    looks = np.zeros(count, look_dtype())
    draw_thumbs(looks["thumb"])  # in place: a copy of a million thumbnails would count as memory of the search
    return looks


def manifest_of(count: int, folder: Path) -> Path:
    """A CSV of `count` rows whose files are there, and empty."""
    table = folder / "photos.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "group"])
        for number in range(count):
            path = f"{number // A_FOLDER:05d}/{number % A_FOLDER:03d}.jpg"
            if number % A_FOLDER == 0:
                (folder / path).parent.mkdir()
            os.close(os.open(folder / path, os.O_CREAT | os.O_WRONLY))
            writer.writerow([path, f"{number % CLASSES:03d}", f"burst{number // 3}"])
    return table


# ---- parts -------------------------------------------------------------------------------------------------------

Part = tuple[Callable[[], Any], Callable[[Any], Row]]
"""The work to measure, and what to tell of its result afterwards."""


def near(count: int, _: Path) -> Part:
    """The search for near-duplicates, and how many of the planted twins it finds."""
    from featherlite.data.near import near_duplicates

    photos, looks = photos_of(count), looks_of(count)

    def tell(twins: Any) -> Row:
        hits = np.sum((twins.second - twins.first == 1) & (twins.second % 3 == 2))
        return {"planted": len(range(2, count, 3)), "found": int(hits), "others": len(twins) - int(hits)}

    return lambda: near_duplicates(photos, looks), tell


def split(count: int, _: Path) -> Part:
    """Who goes into which split, with bursts kept together."""
    from featherlite.data.assign import cut, units_of

    photos = photos_of(count)

    def work() -> Any:
        units = units_of(photos)
        return units, cut(units, {"test": 0.15, "val": 0.15}, 0, frozenset())

    def tell(result: Any) -> Row:
        units, chosen = result
        tested = sum(len(unit.photos) for unit in units if chosen[unit.key] == "test")
        return {"units": len(units), "test_share": round(tested / count, 4)}

    return work, tell


def manifest(count: int, folder: Path) -> Part:
    """Reading a CSV and looking whether its files are there."""
    from featherlite.data.sources.table import listing

    table = manifest_of(count, folder)
    return lambda: listing(table), lambda its: {"candidates": len(its.candidates), "faults": len(its.faults)}


PARTS: dict[str, Callable[[int, Path], Part]] = {"near": near, "split": split, "manifest": manifest}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(part: str, count: int) -> Row:
    """Seconds, memory before the inputs, with them and at most, and what the part tells of its result."""
    bare = peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        work, tell = PARTS[part](count, Path(folder))
        inputs = peak_mib()
        started, busy = time.perf_counter(), time.process_time()
        result = work()
        seconds, cpu, peak = time.perf_counter() - started, time.process_time() - busy, peak_mib()
        told = tell(result)
    return {
        "part": part,
        "photos": count,
        "seconds": round(seconds, 2),
        "us_per_photo": round(1e6 * seconds / count, 1),
        "cpu_us_per_photo": round(1e6 * cpu / count, 1),
        "bare_mib": round(bare),
        "inputs_mib": round(inputs),
        "peak_mib": round(peak),
        "bytes_per_photo": round((peak - bare) * 2**20 / count),
        "told": " ".join(f"{key}={value}" for key, value in told.items()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", nargs="*", type=int, default=COUNTS)
    parser.add_argument("--parts", nargs="*", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--alone", nargs=2, metavar=("PART", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.alone[0], int(options.alone[1]))))
        return
    rows = []
    for part in options.parts:
        for count in options.counts:
            words = [sys.executable, __file__, "--alone", part, str(count)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout))
            print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"scale_{os.cpu_count()}core-{platform.machine()}_py{platform.python_version()}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(path)


if __name__ == "__main__":
    main()
