"""What a comparison's page says of each network, of neighbours, and of how all was measured: ready to be shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from featherlite.comparison import Comparison, Pair, Row
from featherlite.report.comparison_plot import interval_line
from featherlite.report.comparison_view import (
    Column,
    ScoreColumn,
    family,
    next_to,
    p_text,
    pretrained,
    score_text,
    shipped_top1,
    started_from,
    written,
)
from featherlite.report.plots import interval_strip
from featherlite.report.templating import visible
from featherlite.report.thumbnails import without_places
from featherlite.report.units import bytes_text

__all__ = [
    "chosen_view",
    "column_groups",
    "command_text",
    "failed_view",
    "kins",
    "machine_view",
    "method_view",
    "pair_view",
    "row_view",
]

_VERSION = re.compile(r"\d+(\.\w+)+$")
COLORS = 8
"""Kins that have a color of their own; all further ones share the last."""
MOST_ERROR = 600
"""Signs of an error or a note that are shown."""
SHORT = 20
"""Signs of a name that may stand in a tile."""
MOST_SEEDS = 5
"""Seeds whose scores are all written out; of more, the range."""


def row_view(
    comparison: Comparison,
    row: Row,
    rank: int,
    columns: Sequence[Column],
    scores: Sequence[ScoreColumn],
    scale: tuple[float, float],
    folder: Path | None,
) -> dict[str, Any]:
    """A line of the tables: the names, top-1 with its interval drawn on the scale, every figure as text and value."""
    assert row.top1 is not None
    pair = next_to(comparison).get(row.name)
    return {
        "rank": rank,
        "name": visible(row.name),
        "about": _about(row),
        "top1": row.top1,
        "int8": row.int8_top1,
        "line": interval_line(row.top1, *scale),
        "pair": pair_view(pair) if pair else None,
        "figures": {column.key: (written(column, row), column.value(row)) for column in columns},
        "ships": row.ships,
        "scores": [
            (score_text(score, figure.value), f"{_plain(score, figure.low)}–{_plain(score, figure.high)}", figure.value)
            if (figure := score.value(row))
            else None
            for score in scores
        ],
        "input_px": row.input_px,
        "seeds": _seeds(row),
        "tied": row.tied,
        "efficient": row.efficient,
        "recommended": row.name == comparison.recommended,
        "notes": [_cut(note, folder) for note in row.notes],
        "reports": _reports(row, folder),
    }


def failed_view(row: Row, folder: Path | None) -> dict[str, Any]:
    """A row without a score: what it is and what stopped it."""
    error = row.error or "; ".join(row.notes) or "Nothing was measured."
    return {"name": visible(row.name), "about": _about(row), "error": _cut(error, folder)}


def chosen_view(row: Row, rows: Sequence[Row], columns: Sequence[Column]) -> dict[str, Any]:
    """The recommended network: its score, and what it costs beside the most accurate one, each as it would ship."""
    score, form = shipped_top1(row) or row.top1, row.ships or "float32"
    best = max(rows, key=lambda one: (found.value if (found := shipped_top1(one)) else 0.0, one is row))
    by_key = {column.key: column for column in columns}
    tiles = []
    for key, title, about in (
        ("weight_{}", "Weights", form),
        ("ms_{}", "Time per photo", f"{form}, one thread"),
        ("memory_{}", "Peak memory", form),
        ("parameters", "Parameters", ""),
        ("macs", "Work per photo", "multiply-accumulates"),
        ("train_seconds", "Training", "a seed"),
    ):
        column, beside = by_key.get(key.format(form)), by_key.get(key.format(best.ships or "float32"))
        if column is not None and (text := written(column, row)):
            other = beside.value(best) if beside is not None and best is not row else None
            tiles.append((title, text, about, _ratio(column.value(row), other, best)))
    return {
        "name": visible(row.name),
        "about": _about(row),
        "ships": row.ships,
        "score": score,
        "strip": interval_strip(score) if score else None,
        "tiles": tiles,
    }


def pair_view(pair: Pair) -> dict[str, Any]:
    """Two neighbours held against each other."""
    return {
        "better": visible(pair.better),
        "worse": visible(pair.worse),
        "only_better": pair.only_better,
        "only_worse": pair.only_worse,
        "n": pair.n,
        "p": p_text(pair.p_value),
        "significant": pair.significant,
    }


def column_groups(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    """The columns under their common headings."""
    return [(name, list(group)) for name, group in groupby(columns, key=lambda column: column.group)]


def kins(rows: Sequence[Row]) -> dict[str, list[str]]:
    """How the plot's points can be colored: 'family' and 'road' -> the names, those with most rows first."""
    found = {}
    for what, names in (
        ("family", [family(row.model) for row in rows]),
        ("road", [row.road for row in rows]),
    ):
        found[what] = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))
    return found


def method_view(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any]:
    """How it was measured: photos, seeds, sizes, timings; what all rows share stands once."""
    timed = [one for row in rows for one in row.latency]
    return {
        "seeds": ", ".join(str(seed) for seed in sorted({seed for row in comparison.rows for seed in row.seeds})),
        "several": any(len(row.seeds) > 1 for row in rows),
        "folds": sorted({row.folds for row in rows if row.folds}),
        "px": sorted({row.input_px for row in rows if row.input_px}),
        "runtimes": sorted({visible(one.runtime) for one in timed}),
        "threads": sorted({one.threads for one in timed}),
        "runs": _range([one.runs for one in timed]),
        "weigh": comparison.weigh,
        "pretrained": sum(pretrained(row) for row in rows),
        "scratch": sum(not pretrained(row) for row in rows),
        "ships": any(row.ships for row in rows),
    }


def machine_view(machine: Mapping[str, str | int | float]) -> list[tuple[str, str]]:
    """The facts of the machine as a reader wants them: bytes in words, all versions in one line."""
    facts, versions = [], []
    for name, value in machine.items():
        if isinstance(value, str) and _VERSION.match(value):
            versions.append(f"{visible(name)} {visible(value)}")
            continue
        text = bytes_text(round(value)) if name.endswith("_bytes") and not isinstance(value, str) else str(value)
        facts.append((visible(name.removesuffix("_bytes").replace("_", " ")).capitalize(), visible(text)))
    return [*facts, ("Versions", ", ".join(versions))] if versions else facts


def command_text(command: str) -> str:
    """The command as it was typed, without this machine's folders: a page that is sent around must not tell them."""
    try:
        words = shlex.split(command)
    except ValueError:
        return visible(without_places(command))
    return visible(" ".join(shlex.quote(word) if (told := without_places(word)) == word else told for word in words))


def _about(row: Row) -> dict[str, Any]:
    """What a row is, beside its name: nothing is said twice."""
    return {
        "model": visible(row.model) if row.model != row.name else None,
        "road": visible(row.road),
        "weights": visible(started_from(row)) if pretrained(row) else None,
        "family": visible(family(row.model)),
    }


def _seeds(row: Row) -> str:
    scores = [one.top1.value for one in row.per_seed]
    if not scores:
        return ""
    if len(scores) > MOST_SEEDS:
        return f"{min(scores) * 100:.1f} to {max(scores) * 100:.1f}, {len(scores)} seeds"
    return " · ".join(f"{score * 100:.1f}" for score in scores)


def _plain(score: ScoreColumn, value: float) -> str:
    return score_text(score, value).removesuffix("%")


def _ratio(mine: float | None, other: float | None, best: Row) -> str:
    """How the figure stands to that of the most accurate row: '56% of ResNet18's'."""
    if not mine or not other:
        return ""
    ratio = mine / other
    whose = f"{visible(best.name)}'s" if len(best.name) <= SHORT else "the most accurate one's"
    if ratio > 1.5:
        return f"{ratio:.1f} × {whose}"
    return f"{ratio:.0%} of {whose}" if ratio >= 0.0995 else f"{ratio:.1%} of {whose}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _cut(text: str, folder: Path | None) -> str:
    text = visible(without_places(text.strip().replace("\n", " "), folder))
    return text if len(text) <= MOST_ERROR else f"{text[:MOST_ERROR]}…"


def _reports(row: Row, folder: Path | None) -> list[tuple[str, str]]:
    """Name and relative link of each report page that lies in the row's folder."""
    place = PurePosixPath(row.out)
    if folder is None or not row.out or place.is_absolute() or ".." in place.parts:
        return []
    home = folder / place
    pages = [page for pattern in ("report.html", "*/report.html") for page in sorted(home.glob(pattern))]
    links = []
    for page in pages[:MOST_SEEDS]:
        inside = page.relative_to(folder).as_posix()
        links.append((visible(page.parent.name) if page.parent != home else "report", f"./{quote(inside)}"))
    return links
