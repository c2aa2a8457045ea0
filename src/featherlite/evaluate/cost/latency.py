"""How long artefacts take for one photo, what memory and what energy they need: measured side by side, in LiteRT."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featherlite.errors import ExportError
from featherlite.runtime.worker import run_worker
from featherlite.step import Progress, Silent

__all__ = ["METHOD", "Timed", "Timings", "time_artefacts"]

TIMEOUT_S = 600.0
METHOD = "rounds of equal weight"
"""Named beside stored timings: those that were summed up in another way are not held against these."""


@dataclass(frozen=True)
class Timed:
    """One artefact on so many threads: from input tensor to logits; decoding and resizing are left out."""

    threads: int
    p50_ms: float
    p95_ms: float
    runs: int
    memory_bytes: int | None
    """most that the process needed beyond the loaded runtime; median over the rounds"""
    energy_mj: float | None
    """per photo, of the whole processor"""


@dataclass(frozen=True)
class Timings:
    """What was measured, by artefact: one entry for each number of threads; and what could not be, with its reason."""

    timed: dict[str, tuple[Timed, ...]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    load: float | None = None
    """of the machine as the timing began: how many processes wanted a processor, this one's own work included"""


def time_artefacts(
    artefacts: Mapping[str, Path],
    *,
    threads: Sequence[int] = (1, 2),
    rounds: int = 5,
    seconds: float = 0.4,
    progress: Progress | None = None,
) -> Timings:
    """The timings of all artefacts (name -> .tflite file).

    In each round every artefact runs once on each number of threads, in a fresh process, warmed up, for about
    `seconds`; the order turns around from round to round. So a machine that grows slower, by heat or by another's
    work, does so for all alike. The median is that of the rounds' medians, and in the 95th percentile over all runs
    every round weighs the same: in a slow round fewer runs are done, and it counts for no less.
    """
    progress = progress or Silent()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    found: dict[tuple[str, int], list[dict[str, Any]]] = {(name, count): [] for name in artefacts for count in threads}
    failed: dict[str, str] = {}
    progress.start("timing", rounds * len(found))
    for number in range(rounds):
        order = list(found)
        for name, count in order if number % 2 == 0 else reversed(order):
            if name not in failed:
                try:
                    found[name, count].append(_stretch(artefacts[name], count, seconds))
                except ExportError as error:
                    failed[name] = error.message
            progress.advance(1, name)
    progress.finish()
    timed = {
        name: tuple(_summary(count, found[name, count]) for count in threads)
        for name in artefacts
        if name not in failed and rounds
    }
    return Timings(timed, failed, load)


def _stretch(artefact: Path, threads: int, seconds: float) -> dict[str, Any]:
    """What the worker found in one round."""
    with tempfile.TemporaryDirectory(prefix="featherlite-latency-") as folder:
        out = Path(folder, "found.json")
        run_worker(
            "featherlite.evaluate.cost.latency_worker",
            [str(artefact.resolve()), str(threads), str(seconds), str(out)],
            what="Timing the artefact",
            timeout_s=TIMEOUT_S,
        )
        found: dict[str, Any] = json.loads(out.read_text("utf-8"))
        return found


def _summary(threads: int, stretches: Sequence[Mapping[str, Any]]) -> Timed:
    """The rounds of one artefact as one entry."""
    rounds = [stretch["times_ms"] for stretch in stretches]
    runs = sum(len(one) for one in rounds)
    memory = [stretch["memory_bytes"] for stretch in stretches]
    joules = [stretch["joules"] for stretch in stretches]
    told = all(one is not None for one in joules)
    return Timed(
        threads=threads,
        p50_ms=round(float(np.median([np.median(one) for one in rounds])), 4),
        p95_ms=round(_percentile(rounds, 0.95), 4),
        runs=runs,
        memory_bytes=int(np.median(memory)) if all(one is not None for one in memory) else None,
        energy_mj=round(1e3 * sum(joules) / runs, 6) if told else None,
    )


def _percentile(rounds: Sequence[Sequence[float]], share: float) -> float:
    """The least of all runs that `share` of them do not exceed, where every round weighs the same."""
    times = np.concatenate([np.asarray(one) for one in rounds])
    weights = np.concatenate([np.full(len(one), 1 / (len(one) * len(rounds))) for one in rounds])
    order = np.argsort(times)
    reached = int(np.searchsorted(np.cumsum(weights[order]), share - 1e-9))
    return float(times[order][min(reached, len(times) - 1)])
