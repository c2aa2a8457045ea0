"""The process in which an artefact is timed: `python -m featherlite.evaluate.cost.latency_worker`.

Arguments: the .tflite, how many threads, for how many seconds to run, and where to write what was found (JSON): the
milliseconds of every run after the warm-up, the memory that it took, and the energy where the machine tells.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

import numpy as np

from featherlite.errors import FeatherliteError
from featherlite.evaluate.cost.energy import Meter
from featherlite.evaluate.cost.memory import PeakMemory
from featherlite.runtime.interpreter import LiteRTRuntime
from featherlite.runtime.worker import FAILURE

WARM_UP_RUNS = 3
FEWEST_RUNS = 5
"""More than one, however slow; otherwise the seconds alone end a round, so that a quick network is watched as long as a
slow one."""


def main(artefact: str, threads: str, seconds: str, out: str) -> None:
    """What one stretch of runs found, written to `out`."""
    # Loaded before the memory is looked at, so that what is left is the artefact's.
    import ai_edge_litert.interpreter
    import ai_edge_litert.schema_py_generated  # noqa: F401

    memory = PeakMemory()
    runtime = LiteRTRuntime(Path(artefact), threads=int(threads))
    compute = runtime.stopwatch(np.random.default_rng(0).integers(0, 256, runtime.facts.input.shape[1:], np.uint8))
    until = time.perf_counter() + float(seconds) / 4
    runs = 0
    while runs < WARM_UP_RUNS or time.perf_counter() < until:
        compute()
        runs += 1
    grown = memory.grown()
    gc.disable()
    times: list[float] = []
    meter = Meter()
    until = time.perf_counter() + float(seconds)
    while len(times) < FEWEST_RUNS or time.perf_counter() < until:
        start = time.perf_counter()
        compute()
        times.append((time.perf_counter() - start) * 1e3)
    found = {"times_ms": times, "joules": meter.joules(), "memory_bytes": grown}
    Path(out).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except FeatherliteError as error:
        sys.exit(f"{FAILURE}{error.message}")
