"""A comparison's figures as a reader sees them: which there are, what each is called, and how it is written.

The page's tables, its plot, its script and the terminal's table all take their figures from here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from featherlite.comparison import Comparison, Pair, Row, Score
from featherlite.history import Estimate
from featherlite.report.units import bytes_text, count_text, percent_text, seconds_text

__all__ = [
    "COLUMNS",
    "SCORES",
    "Column",
    "ScoreColumn",
    "Spread",
    "columns_of",
    "family",
    "front",
    "milliseconds_text",
    "next_to",
    "p_text",
    "pretrained",
    "score_text",
    "scores_of",
    "shipped_top1",
    "started_from",
    "written",
]

Unit = Literal["bytes", "ms", "count", "seconds", "mj"]
Spread = Estimate | Score
"""A figure with its interval."""

_FAMILY = re.compile(r"[a-z]*?(?:net|next)|[a-z]+", re.IGNORECASE)
_FILE = re.compile(r"(\.weights)?\.(h5|keras|safetensors)$")
MOST_WEIGHTS = 36
"""Characters that a table spares for the name of what a row started from."""


@dataclass(frozen=True)
class Column:
    """A figure that is better where it is smaller."""

    key: str
    group: str
    title: str
    unit: Unit
    read: Callable[[Row], float | None]
    place: Literal["study", "rest", "axis"] = "rest"
    """the first table, beside the accuracy; the second table; or only an axis of the plot"""

    @property
    def name(self) -> str:
        """Group and title as one phrase: 'weight size, int8'."""
        return f"{self.group}, {self.title}" if self.title else self.group

    def value(self, row: Row) -> float | None:
        """The row's figure; None where it has none, or one that is not a number."""
        found = self.read(row)
        return found if found is not None and math.isfinite(found) else None


@dataclass(frozen=True)
class ScoreColumn:
    """A figure that is better where it is larger, in [0, 1], with its interval."""

    key: str
    name: str
    read: Callable[[Row], Spread | None]
    percent: bool = True

    def value(self, row: Row) -> Spread | None:
        """The row's score; None where it has none, or one that is not a number."""
        found = self.read(row)
        return found if found and all(map(math.isfinite, (found.value, found.low, found.high))) else None


def _latency(precision: str, threads: int) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        timed = row.latency_of(precision, threads)
        return timed.p50_ms if timed else None

    return value


def _weight(row: Row, precision: str) -> float | None:
    return next((count for one, count in row.weight_bytes.items() if one == precision), None)


def _shipped(of: Callable[[Row, str], float | None]) -> Callable[[Row], float | None]:
    return lambda row: of(row, row.ships) if row.ships else None


def shipped_top1(row: Row) -> Estimate | None:
    """The top-1 of the artefact that the row is judged by; of the network where none was chosen."""
    return row.int8_top1 if row.ships == "int8" else row.top1


COLUMNS: tuple[Column, ...] = (
    Column("weight_ships", "weight size", "of what ships", "bytes", _shipped(_weight), "axis"),
    Column("ms_ships", "time per photo", "of what ships", "ms", _shipped(lambda row, of: _latency(of, 1)(row)), "axis"),
    Column("weight_float32", "weight size", "float32", "bytes", lambda row: row.weight_bytes.get("float32"), "study"),
    Column("weight_int8", "weight size", "int8", "bytes", lambda row: row.weight_bytes.get("int8"), "study"),
    Column("ms_float32", "time per photo", "float32", "ms", _latency("float32", 1), "study"),
    Column("ms_int8", "time per photo", "int8", "ms", _latency("int8", 1), "study"),
    Column("parameters", "parameters", "", "count", lambda row: row.parameters),
    Column("macs", "MACs", "", "count", lambda row: row.macs),
    Column("train_seconds", "training time", "", "seconds", lambda row: row.train_seconds),
    Column("ms_float32_2", "time, two threads", "float32", "ms", _latency("float32", 2)),
    Column("ms_int8_2", "time, two threads", "int8", "ms", _latency("int8", 2)),
    Column("memory_float32", "peak memory", "float32", "bytes", lambda row: row.peak_memory_bytes.get("float32")),
    Column("memory_int8", "peak memory", "int8", "bytes", lambda row: row.peak_memory_bytes.get("int8")),
    Column("weight_float16", "weight size", "float16", "bytes", lambda row: row.weight_bytes.get("float16")),
    Column("file_float32", "file size", "float32", "bytes", lambda row: row.file_bytes.get("float32")),
    Column("file_float16", "file size", "float16", "bytes", lambda row: row.file_bytes.get("float16")),
    Column("file_int8", "file size", "int8", "bytes", lambda row: row.file_bytes.get("int8")),
    Column("energy", "energy per photo", "", "mj", lambda row: row.energy_mj),
)
"""Every figure that costs something, in the order of the tables."""

SCORES: tuple[ScoreColumn, ...] = (
    ScoreColumn("ships", "top-1 of what ships", lambda row: shipped_top1(row) if row.ships else None),
    ScoreColumn("top1", "top-1", lambda row: row.top1),
    ScoreColumn("int8_top1", "top-1, int8", lambda row: row.int8_top1),
    ScoreColumn("top5", "top-5", lambda row: row.top5),
    ScoreColumn("macro_f1", "macro-F1", lambda row: row.macro_f1, percent=False),
)
"""Every figure that says how good a network is, the one that decides first."""


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The columns that at least one row has a figure for."""
    return [column for column in COLUMNS if any(column.value(row) is not None for row in rows)]


def scores_of(rows: Sequence[Row]) -> list[ScoreColumn]:
    """The scores that at least one row has."""
    return [score for score in SCORES if any(score.value(row) is not None for row in rows)]


def written(column: Column, row: Row) -> str:
    """The figure of that row as text, or nothing where it has none."""
    value = column.value(row)
    if value is None:
        return ""
    match column.unit:
        case "bytes":
            return bytes_text(round(value))
        case "ms":
            return milliseconds_text(value)
        case "count":
            return count_text(round(value))
        case "seconds":
            return seconds_text(value)
        case "mj":
            return f"{value:.3g} mJ"


def score_text(score: ScoreColumn, figure: float) -> str:
    """A score as text: '95.3%', or '0.942' where percent is not customary."""
    return percent_text(figure) if score.percent else f"{figure:.3f}"


def milliseconds_text(ms: float) -> str:
    """A short duration with three digits: 0.8312 -> '0.831 ms', 41.77 -> '41.8 ms', 1530 -> '1.53 s'."""
    if ms >= 999.5:
        return f"{ms / 1000:.2f} s" if ms < 9995 else f"{ms / 1000:.1f} s"
    return f"{ms:.{3 if ms < 0.9995 else 2 if ms < 9.995 else 1 if ms < 99.95 else 0}f} ms"


def p_text(p_value: float) -> str:
    """A p-value with the digits that matter: 'p = 0.31', 'p = 0.008', 'p < 0.001'."""
    if p_value < 0.001:
        return "p < 0.001"
    digits = 2 if p_value >= 0.0995 else 3 if p_value >= 0.00995 else 4
    return f"p = {p_value:.{digits}f}" if p_value < 0.995 else "p = 1.00"


def family(model: str) -> str:
    """What kin a backbone belongs to, by its name: 'MobileNetV2' -> 'MobileNet', 'ResNet18' -> 'ResNet'."""
    found = _FAMILY.match(model)
    return found.group() if found else model


def pretrained(row: Row) -> bool:
    """Whether the row started from weights, not from scratch."""
    return row.weights != "none"


def started_from(row: Row) -> str:
    """What the row started from, short enough for a table: a file's name without its endings, 'imagenet', 'scratch'."""
    if not pretrained(row):
        return "scratch"
    name = PurePosixPath(row.weights).name if _FILE.search(row.weights) else row.weights
    name = _FILE.sub("", name)
    return name if len(name) <= MOST_WEIGHTS else f"{name[: MOST_WEIGHTS - 9]}…{name[-8:]}"


def next_to(comparison: Comparison) -> Mapping[str, Pair]:
    """Name of a row -> how it compares with the one ranked next below it."""
    return {pair.better: pair for pair in comparison.pairs}


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of the points (cost, score) are on the Pareto front, by rising cost; of equal points all.

    A point is on it unless another costs no more and scores no less, and is better in one of the two.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1], index))
    found: list[int] = []
    for index in order:
        if not found or points[index][1] > points[found[-1]][1] or points[index] == points[found[-1]]:
            found.append(index)
    return found
