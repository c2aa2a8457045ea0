"""What a comparison of networks found: one row a network, in the order of merit, and which one to ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from featherlite.errors import RequestError
from featherlite.history import Estimate

__all__ = ["NOTABLE", "Comparison", "Latency", "Pair", "Row", "Score", "SeedScore", "Weigh", "flat", "read_comparison"]

Precision = Literal["float32", "float16", "int8"]
FILE = "comparison.json"
NOTABLE = 2.0
"""Points of top-1 that nobody gives away unknowingly: a larger gap that may be chance is told as one that the photos
cannot tell."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Score(_Entry):
    """A figure in [0, 1] with its 95% interval."""

    value: float
    low: float
    high: float


class SeedScore(_Entry):
    """What one seed reached on the same test photos (all folds together)."""

    seed: int
    top1: Estimate


class Latency(_Entry):
    """How long one photo takes, from input tensor to logits; decoding and resizing are not in it."""

    runtime: str
    """what ran it: 'litert'"""
    precision: Precision
    threads: int
    p50_ms: float
    """median of the rounds' medians"""
    p95_ms: float
    """95th percentile over the runs, in which every round weighs the same"""
    runs: int
    """how many photos were timed"""


class Row(_Entry):
    """One network under one road. Figures are None, and mappings empty, where nothing was measured."""

    name: str
    """unique within the comparison; what --only takes"""
    model: str
    """the backbone"""
    weights: str
    """what it started from: 'none', 'imagenet', or the name of a file"""
    road: str
    input_px: int | None = None
    """longer input side; None where the road failed before there was a network"""
    seeds: tuple[int, ...]
    """those whose trainings are done, where the row is; else those that were tried"""
    failed_seeds: tuple[int, ...] = ()
    """seeds that failed while others are done: they are in none of the figures, and the notes say why"""
    folds: int | None = None
    """with folds every photo is tested once, each by a network that has not seen it"""
    status: Literal["done", "failed"]
    error: str = ""
    """what stopped it, where it failed"""
    top1: Estimate | None = None
    """mean over the seeds; the interval holds photos and seeds for chance (see `Comparison.interval`)"""
    top5: Estimate | None = None
    macro_f1: Score | None = None
    per_seed: tuple[SeedScore, ...] = ()
    int8_top1: Estimate | None = None
    """of the int8 artefact on the same photos, mean over the seeds"""
    parameters: int | None = None
    macs: int | None = None
    weight_bytes: Mapping[Precision, int] = Field(default_factory=dict)
    """the constants inside each .tflite: kernels, biases and their scales"""
    file_bytes: Mapping[Precision, int] = Field(default_factory=dict)
    """each .tflite as it lies on the disk: weights, graph, labels, memory plan"""
    latency: tuple[Latency, ...] = ()
    peak_memory_bytes: Mapping[Precision, int] = Field(default_factory=dict)
    """what a process that runs the artefact needs beyond one that has only loaded the runtime"""
    energy_mj: float | None = None
    """millijoules per photo, float32, one thread, where the machine tells (RAPL)"""
    train_seconds: float | None = None
    """of the steps that train, mean over the seeds (with folds: all folds of a seed together)"""
    ships: Literal["float32", "int8"] | None = None
    """the artefact that the recommendation judges the row by: int8, unless its answers are significantly worse"""
    tied: bool = False
    """top-1 of what ships not significantly worse than the best row's, which does not say that it is as good"""
    p_best: float | None = None
    """p-value of the difference between the top-1 of what ships and the best row's, for this row alone (uncorrected)"""
    efficient: bool = False
    """no other row's artefact is at least as good in accuracy, size and time, and better in one of them"""
    notes: tuple[str, ...] = ()
    """what could not be made or measured, and why"""
    out: str = ""
    """folder of the row's runs, relative to the comparison's"""

    def latency_of(self, precision: str, threads: int = 1) -> Latency | None:
        """The timing of that precision and number of threads, where there is one."""
        wanted = (precision, threads)
        return next((entry for entry in self.latency if (entry.precision, entry.threads) == wanted), None)


class Pair(_Entry):
    """Two neighbours in the ranking, held against each other photo by photo (McNemar's exact test, two-sided).

    With several seeds the test flips the signs of whole photos, so that the answers of the seeds to one photo are not
    taken for independent (with one seed that is McNemar's test itself), and the difference must also be more than the
    seeds make: p is the larger of that test's and Welch's with photos and seeds held for chance.
    """

    better: str
    worse: str
    n: int
    """photos that both were tested on"""
    only_better: int
    """answers that only the better one got right; one a photo and seed"""
    only_worse: int
    p_value: float
    """after Holm's correction over all pairs"""
    significant: bool
    """p_value < 0.05"""


class Weigh(_Entry):
    """What counts how much in the recommendation: a point of top-1 lost, each doubling of the size, of the time."""

    accuracy: float = Field(1.0, ge=0, allow_inf_nan=False)
    """cost of each point of top-1 below the best, counted as far as the difference is sure (times 1 - p)"""
    size: float = Field(0.2, ge=0, allow_inf_nan=False)
    """cost of each doubling of the weights' bytes"""
    time: float = Field(0.2, ge=0, allow_inf_nan=False)
    """cost of each doubling of the latency on one thread"""


class Comparison(_Entry):
    """Networks compared: the rows best first (those that failed last), the neighbours' tests, the recommendation."""

    name: str
    title: str
    description: str
    machine: Mapping[str, str | int | float]
    """processor, cores, memory_bytes, system, python, the versions of what computed, and where artefacts were timed the
    load_when_timed (processes that wanted a processor)"""
    split: str
    """what the scores were measured on: 'test', or 'folds'"""
    n: int
    """photos that every row was tested on"""
    interval: str
    """how the intervals of top-1 were computed, in a sentence"""
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...] = ()
    recommended: str | None = None
    """name of the row to ship"""
    reason: str = ""
    """why, in a sentence with numbers"""
    weigh: Weigh = Field(default_factory=Weigh)
    classes: int | None = None
    """how many classes the networks tell apart"""
    drawings: bool = False
    """whether the photos are featherlite's own sample drawings, whose scores say nothing about real birds"""
    command: str = ""
    """what to type to make this comparison again"""

    def row(self, name: str) -> Row | None:
        """The row of that name, where there is one."""
        return next((row for row in self.rows if row.name == name), None)

    def document(self) -> dict[str, Any]:
        """The comparison as the command line's JSON: comparison.json, and `latency_ms` in each row as a mapping
        precision -> threads -> {"p50", "p95"}.
        """
        made = self.model_dump(mode="json")
        for entry, row in zip(made["rows"], self.rows, strict=True):
            timed: dict[str, dict[str, dict[str, float]]] = {}
            for one in row.latency:
                timed.setdefault(one.precision, {})[str(one.threads)] = {"p50": one.p50_ms, "p95": one.p95_ms}
            entry["latency_ms"] = timed
        return made


def flat(row: Row) -> dict[str, str | int | float | bool | None]:
    """A row as the cells of one line of a table; the same columns for every row. Sizes in bytes, shares in [0, 1]."""
    cells: dict[str, str | int | float | bool | None] = {
        "name": row.name,
        "model": row.model,
        "weights": row.weights,
        "road": row.road,
        "input_px": row.input_px,
        "seeds": " ".join(str(seed) for seed in row.seeds),
        "folds": row.folds,
        "status": row.status,
        "error": row.error,
        "n": row.top1.n if row.top1 else None,
    }
    for what, figure in (
        ("top1", row.top1),
        ("top5", row.top5),
        ("macro_f1", row.macro_f1),
        ("int8_top1", row.int8_top1),
    ):
        cells[what] = figure.value if figure else None
        cells[f"{what}_low"] = figure.low if figure else None
        cells[f"{what}_high"] = figure.high if figure else None
    cells |= {"parameters": row.parameters, "macs": row.macs}
    precisions: tuple[Precision, ...] = ("float32", "float16", "int8")
    cells |= {f"weight_bytes_{precision}": row.weight_bytes.get(precision) for precision in precisions}
    cells |= {f"file_bytes_{precision}": row.file_bytes.get(precision) for precision in precisions}
    for precision in ("float32", "int8"):
        for threads in (1, 2):
            timed = row.latency_of(precision, threads)
            cells[f"latency_p50_ms_{precision}_{threads}"] = timed.p50_ms if timed else None
            cells[f"latency_p95_ms_{precision}_{threads}"] = timed.p95_ms if timed else None
    cells["peak_memory_bytes_float32"] = row.peak_memory_bytes.get("float32")
    cells["peak_memory_bytes_int8"] = row.peak_memory_bytes.get("int8")
    cells |= {"energy_mj": row.energy_mj, "train_seconds": row.train_seconds}
    cells |= {"ships": row.ships, "tied": row.tied, "efficient": row.efficient}
    return cells | {"notes": " | ".join(row.notes), "out": row.out}


def read_comparison(place: Path) -> Comparison:
    """The comparison in that folder, or in that file.

    Raises:
        RequestError: there is none, or the file holds something else.
    """
    path = place / FILE if place.is_dir() else place
    hint = "Give the folder that featherlite compare wrote."
    try:
        return Comparison.model_validate(json.loads(path.read_text("utf-8")))
    except OSError:
        raise RequestError(f"There is no comparison at {place}.", hint) from None
    except (ValueError, RecursionError) as error:
        found = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(str(part) for part in found["loc"]) if found else ""
        why = f"{where}: {found['msg']}" if found else "not JSON"
        raise RequestError(f"{path} is not a comparison: {why}.", hint) from None
