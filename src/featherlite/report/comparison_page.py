"""A comparison's page: one self-contained HTML file that says which network to ship, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherlite.bundle import storage_guard, write_atomically
from featherlite.comparison import NOTABLE, Comparison, Row
from featherlite.report.comparison_facts import (
    COLORS,
    chosen_view,
    column_groups,
    command_text,
    failed_view,
    kins,
    machine_view,
    method_view,
    pair_view,
    row_view,
)
from featherlite.report.comparison_plot import SPREAD, STEPS, Dot, pareto_plot, share_range
from featherlite.report.comparison_view import (
    Column,
    ScoreColumn,
    columns_of,
    family,
    pretrained,
    score_text,
    scores_of,
    shipped_top1,
    written,
)
from featherlite.report.svg import Svg
from featherlite.report.templating import environment, policy_hash, template_text, version, visible
from featherlite.report.units import percent_text

__all__ = ["PAGE", "render", "write"]

PAGE = "comparison.html"


def write(comparison: Comparison, folder: Path) -> Path:
    """The path of the written page, comparison.html in the folder; reports of the rows' runs there are linked.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        StorageError: the page cannot be written.
    """
    page = folder / PAGE
    text = render(comparison, folder)
    with storage_guard(page):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(page, text.encode("utf-8"))
    return page


def render(comparison: Comparison, folder: Path | None = None) -> str:
    """The page as HTML; everything that comes from the comparison is escaped."""
    templates = environment("The comparison's page")
    done = [row for row in comparison.rows if row.status == "done" and row.top1 is not None]
    columns, scores = columns_of(done), scores_of(done)
    tops = [row.top1 for row in done if row.top1 is not None]
    scale = share_range(tops) if tops else (0.0, 1.0)
    beside = [score for score in scores if score.key not in ("ships", "top1")]
    chosen = next((row for row in done if row.name == comparison.recommended), None)
    script = "".join(template_text(f"{name}.js") for name in ("comparison_rule", "comparison_plot", "comparison"))
    return templates.get_template("comparison.html.j2").render(
        title=f"featherlite comparison: {visible(comparison.title)}",
        comparison=comparison,
        heading=visible(comparison.title),
        description=visible(" ".join(comparison.description.split())),
        reason=visible(comparison.reason),
        command=command_text(comparison.command),
        interval=visible(comparison.interval),
        style=template_text("style.css") + template_text("comparison.css"),
        script=script,
        script_hash=policy_hash(script),
        version=version(),
        rows=[
            row_view(comparison, row, rank, columns, beside, scale, folder) for rank, row in enumerate(done, start=1)
        ],
        failed=[failed_view(row, folder) for row in comparison.rows if row not in done],
        chosen=chosen_view(chosen, done, columns) if chosen else None,
        groups=column_groups([column for column in columns if column.place == "study"]),
        rest=column_groups([column for column in columns if column.place == "rest"]),
        scores=beside,
        scale=tuple(percent_text(end, 0) for end in scale),
        plot=_plot(comparison, done, columns, scores),
        pairs=[pair_view(pair) for pair in comparison.pairs],
        method=method_view(comparison, done),
        machine=machine_view(comparison.machine),
        data=_data(comparison, done, columns, scores),
    )


def _plot(
    comparison: Comparison, rows: Sequence[Row], columns: Sequence[Column], scores: Sequence[ScoreColumn]
) -> dict[str, Any] | None:
    """The plot as it stands without the script: the first score against the first cost, wide and narrow."""
    if not columns or not scores:
        return None
    axis, score = columns[0], scores[0]
    groups = kins(rows)["family"]
    dots = []
    for row in rows:
        cost, figure = axis.value(row), score.value(row)
        if cost is None or figure is None:
            continue
        text = (
            f"{visible(row.name)}: {score_text(score, figure.value)} ({score_text(score, figure.low)} to "
            f"{score_text(score, figure.high)}), {written(axis, row)}"
        )
        color = min(groups.index(family(row.model)), COLORS - 1)
        recommended = row.name == comparison.recommended
        dots.append(Dot(visible(row.name), cost, figure, text, color, pretrained(row), recommended))
    if not dots:
        return None
    return {
        "wide": pareto_plot(dots, axis.name, axis.unit, score.name),
        "narrow": pareto_plot(dots, axis.name, axis.unit, score.name, 360, 340),
        "axis": axis,
        "score": score,
        "legend": [(min(index, COLORS - 1), visible(name)) for index, name in enumerate(groups)],
        "left_out": [visible(row.name) for row in rows if visible(row.name) not in [dot.name for dot in dots]],
    }


def _data(comparison: Comparison, rows: Sequence[Row], columns: Sequence[Column], scores: Sequence[ScoreColumn]) -> Svg:
    """What the page's script works on, as JSON that cannot end the element that it stands in."""
    groups = kins(rows)
    found = {
        "rows": [_row_data(row, columns, scores, groups) for row in rows],
        "columns": [{"key": column.key, "name": column.name, "unit": column.unit} for column in columns],
        "scores": [{"key": score.key, "name": score.name, "percent": score.percent} for score in scores],
        "groups": {what: [visible(name) for name in names] for what, names in groups.items()},
        "colors": COLORS,
        "steps": STEPS,
        "spread": SPREAD,
        "recommended": visible(comparison.recommended or ""),
        "weigh": comparison.weigh.model_dump(),
        "notable": NOTABLE,
    }
    text = json.dumps(found, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Svg(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _row_data(
    row: Row, columns: Sequence[Column], scores: Sequence[ScoreColumn], groups: dict[str, list[str]]
) -> dict[str, Any]:
    top1 = shipped_top1(row)
    figures = {score.key: score.value(row) for score in scores}
    return {
        "name": visible(row.name),
        "group": {"family": groups["family"].index(family(row.model)), "road": groups["road"].index(row.road)},
        "about": visible(f"{row.model} · {row.road}"),
        "weights": visible(row.weights),
        "pretrained": pretrained(row),
        "ships": row.ships,
        "tied": row.tied,
        "p": row.p_best or 0.0,  # where it is not known, a loss counts in full
        "px": row.input_px,
        "top1": top1.value if top1 else None,
        "scores": {key: [one.value, one.low, one.high] if one else None for key, one in figures.items()},
        "costs": {column.key: column.value(row) for column in columns},
        "text": {column.key: written(column, row) for column in columns},
    }
