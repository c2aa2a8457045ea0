"""The ladder: what each step did to a model, as rows for tools and as a table for the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from featherlite.history import Estimate, Measure, StepReport
from featherlite.report.documents import RUNTIME_NAMES, ExportCheck, read_checks, spoken_check
from featherlite.report.ladder_words import arena_text, stability_of, stability_text
from featherlite.report.units import bytes_text, count_text, percent_text, points_text, seconds_text
from featherlite.step import steps

__all__ = ["Row", "changes", "ladder_rows", "ladder_table"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

HEADERS = {
    "input_px": "px",
    "parameters": "params",
    "macs": "MACs",
    "bytes": "size",
    "top1": "top-1 (95%)",
    "split": "on",
    "change": "diff",
    "seconds": "time",
}

LONG_HEADERS = HEADERS | {"classes": "cls", "top1": "top-1 ±95%"}

LONG = 8
"""A ladder of more rows than this is a chain: how its weight falls tells more than what each step took."""

TIGHT = 8
"""Columns beyond which nothing but the text itself has room at 80."""

Row = dict[str, Any]
"""One row of the ladder, in JSON's types."""


def ladder_rows(history: Sequence[StepReport], verify: Mapping[str, Any] | None) -> list[Row]:
    """One row a step, in the order of the run; the last verify step's row is that of the artefact that spoke then.

    Where there is a verdict and no verify step, its row is the last. A step that only packs the artefact, and so
    neither changes nor measures it, has no figures.

    Raises:
        BundleError: `verify` is not what verify.json holds.
    """
    verifying = [report for report in history if report.step == "verify"]
    speaking = verifying or history
    spoke = next((report.after.subject for report in reversed(speaking) if report.after), None)
    check = spoken_check(read_checks(verify), spoke)
    rows: list[Row] = []
    former: Measure | None = None
    reads = 0
    for report in history:
        if check is not None and verifying and report is verifying[-1]:
            rows.append(_verified_row(report, check, former))
        else:
            rows.append(_row(report, report.before or former, report.test_reads > reads))
        former, reads = report.after or former, max(reads, report.test_reads)
    if check is not None and not verifying:
        rows.append(_verified_row(None, check, former))
    return rows


def changes(rows: Sequence[Row]) -> list[float | None]:
    """Per row, its top-1 less that of the nearest row above that was scored on the same photos; None without one.

    A network is compared with a network: an artefact above it was of a former one, and only a look aside.
    """
    found: list[float | None] = []
    nearest: dict[tuple[str | None, int], float] = {}
    networks: dict[tuple[str | None, int], float] = {}
    for row in rows:
        top1 = row["top1"]
        if top1 is None:
            found.append(None)
            continue
        photos, is_network = (top1["split"], top1["n"]), row["subject"] == "network"
        former = (networks if is_network else nearest).get(photos)
        found.append(None if former is None else top1["value"] - former)
        nearest[photos] = top1["value"]
        if is_network:
            networks[photos] = top1["value"]
    return found


def ladder_table(rows: Sequence[Row]) -> Group:
    """The rows as a table that reads well at 80 columns, and its notes, as wide as the terminal.

    What is the same in all rows stands in the table's title. A long ladder has a column for the arena in the place of
    that for the time, and half of each interval. Nothing in it is read as markup.
    """
    shared = {key: {row[key] for row in rows if row[key] is not None} for key in ("input_px", "classes")}
    long = len(rows) > LONG and any(arena_text(row) for row in rows)
    splits = {row["top1"]["split"] for row in rows if row["top1"]}
    columns = ["step", *(key for key in shared if len(shared[key]) > 1), "parameters", "macs", "bytes"]
    columns += ["arena"] if long else []
    columns += ["top1", *(["split"] if not long or len(splits) > 1 else []), "change"]
    columns += [] if long else ["seconds"]
    table = Table(
        title=_title(shared, next(iter(splits)) if long and len(splits) == 1 else None),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0) if len(columns) > TIGHT else (0, 1, 0, 0),
        header_style="bold",
    )
    for name in columns:
        width = {"step": 8, "top1": 10 if long else 11}.get(name)
        left = name in ("step", "top1", "split")
        table.add_column(
            (LONG_HEADERS if long else HEADERS).get(name, name),
            justify="left" if left else "right",
            no_wrap=True,
            min_width=width,
            overflow="ellipsis",
        )
    for row, change in zip(rows, changes(rows), strict=True):
        cells = _cells(row, change, long)
        style = "dim" if row["top1"] is None else "bold" if "runtimes" in row else ""
        table.add_row(*(cells[name] for name in columns), style=style)
    return Group(table, _notes(rows, long))


def _row(report: StepReport, before: Measure | None, read_test: bool) -> Row:
    after = None if _packs(report, before) else report.after
    row: Row = {
        "step": report.step,
        "id": report.id,
        "subject": after.subject if after else None,
        "input_px": after.input_px if after else None,
        "classes": after.classes if after else None,
        "parameters": after.parameters if after else None,
        "macs": after.macs if after else None,
        "bytes": after.bytes if after else None,
        "top1": _estimate(after.top1) if after else None,
        "top5": _estimate(after.top5) if after else None,
        "measures_only": (read_test or report.step == "robustness") and after is not None and _same(before, after),
        "seconds": round(report.seconds, 3),
        "warnings": _warnings(report),
    }
    for name in ("arena_bytes", "activation_bytes"):
        if after and getattr(after, name) is not None:
            row[name] = getattr(after, name)
    photos, classes = report.details.get("photos"), report.details.get("classes")
    if after is None and isinstance(photos, Mapping):
        row["photos"] = {split: count for split, count in photos.items() if isinstance(count, int)}
    if after is None and isinstance(classes, Mapping):
        row["classes"] = len(classes)
    if report.details.get("synthetic") is True:
        row["synthetic"] = True
    if (stability := stability_of(report.details)) is not None:
        row["stability"] = stability
    return row


def _verified_row(report: StepReport | None, check: ExportCheck, former: Measure | None) -> Row:
    measure = (report.after if report else None) or former
    # Where the network speaks for the bundle, only what its artefacts have in common with it is theirs.
    own = measure if measure is not None and measure.subject == check.name else None
    row: Row = {
        "step": "verify",
        "id": report.id if report else "verify",
        "subject": check.name,
        "input_px": measure.input_px if measure else None,
        "classes": measure.classes if measure else None,
        "parameters": measure.parameters if measure else None,
        "macs": measure.macs if measure else None,
        "bytes": check.bytes,
        "top1": _estimate(check.top1),
        "top5": _estimate(own.top5) if own and report and report.after else None,
        "measures_only": False,
        "seconds": round(report.seconds, 3) if report else None,
        "warnings": _warnings(report) if report else [],
        "runtimes": {
            name: found.model_dump(exclude_none=True) | {"top1": _estimate(found.top1)}
            for name, found in check.runtimes.items()
        },
        "int8_only": check.int8_only,
        "passed": check.passed,
        "failures": list(check.failures),
    }
    if check.arena_bytes is not None:
        row["arena_bytes"] = check.arena_bytes
    if own is not None and own.activation_bytes is not None:
        row["activation_bytes"] = own.activation_bytes
    return row


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.model_dump()


def _warnings(report: StepReport) -> list[str]:
    found = report.details.get("warnings")
    return [str(warning) for warning in found] if isinstance(found, list) else []


def _same(before: Measure | None, after: Measure) -> bool:
    """Whether the two weigh the same; what they score depends on the photos."""
    facts = ("subject", "input_px", "classes", "parameters", "macs", "bytes")
    return before is not None and all(getattr(before, name) == getattr(after, name) for name in facts)


def _packs(report: StepReport, before: Measure | None) -> bool:
    """Whether the step put what there was into a package, and left it and what was known of it as they were."""
    entry = steps().get(report.step)
    return report.after == before and before is not None and entry is not None and entry.room == "export"


def _title(shared: Mapping[str, set[Any]], split: str | None) -> Text:
    parts = []
    if len(shared["classes"]) == 1:
        count = next(iter(shared["classes"]))
        parts.append(f"{count:,} class{'es' if count != 1 else ''}")
    if len(shared["input_px"]) == 1:
        parts.append(f"{next(iter(shared['input_px']))} px input")
    parts += [f"{split} photos"] if split else []
    return _text("Ladder" + (": " + ", ".join(parts) if parts else ""))


def _cells(row: Row, change: float | None, long: bool) -> dict[str, Text]:
    """Every cell that a table may show of a row, by its column."""
    name = row["id"]
    if row["subject"] not in (None, "network"):
        name = f"{name} {row['subject']}"
    quiet = row["measures_only"]
    cells = {"step": _text(name), "arena": Text(arena_text(row)), "top1": Text(""), "split": Text("")}
    cells |= {key: Text(_cell(row[key])) for key in ("input_px", "classes")}
    for key, told in (("parameters", count_text), ("macs", count_text), ("bytes", bytes_text)):
        cells[key] = Text("" if quiet or row[key] is None else told(row[key]))
    top1 = row["top1"]
    if top1:
        cells["top1"] = Text(percent_text(top1["value"]).rjust(6))
        low, high = top1["low"] * 100, top1["high"] * 100
        cells["top1"].append(f" ±{(high - low) / 2:.1f}" if long else f" {low:.1f}-{high:.1f}", "dim")
        cells["split"] = _text(top1["split"] or "")
    cells["change"] = Text("" if change is None else points_text(change))
    cells["seconds"] = Text("" if row["seconds"] is None else seconds_text(row["seconds"]))
    return cells


def _cell(value: int | None) -> str:
    return "" if value is None else str(value)


def _text(content: str, style: str = "") -> Text:
    """Text as it stands: no markup, and nothing that a terminal would obey."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", content), style)


def _notes(rows: Sequence[Row], long: bool) -> Text:
    text = Text()
    photos = next((row["photos"] for row in rows if "photos" in row), None)
    if photos:
        counts = ", ".join(f"{count:,} {split}" for split, count in photos.items())
        text.append_text(_text(f"Photos: {counts}.", "dim")).append("\n")
    text.append("Size: a network's float32 weights, an export's file; 1 KB = 1000 bytes.", "dim")
    if long:
        told = "Arena: TensorFlow Lite Micro's memory; ~ is what the activations alone take in int8."
        seconds = sum(row["seconds"] or 0 for row in rows)
        text.append(f"\n{told} Time: {seconds_text(seconds)} in all.", "dim")
    for row in rows:
        if "stability" in row:
            text.append("\n").append_text(_text(stability_text(row), "none"))
        if "runtimes" in row:
            text.append("\n")
            text.append_text(_verdict(row))
    if any(row.get("synthetic") for row in rows):
        text.append("\n! ", "yellow")
        text.append("Sample drawings, not photos: these scores say nothing about real birds.")
    for row in rows:
        for warning in row["warnings"]:
            text.append("\n! ", "yellow")
            text.append_text(_text(f"{row['id']}: {warning}"))
    return text


def _verdict(row: Row) -> Text:
    text = Text("passed" if row["passed"] else "FAILED", "bold green" if row["passed"] else "bold red")
    text.append_text(_text(f" {row['subject']}: {row['bytes']:,} bytes", "none"))
    if row.get("arena_bytes") is not None:
        text.append(f", arena {row['arena_bytes']:,} bytes", "none")
    for name, found in row["runtimes"].items():
        if found["top1"] is None:
            continue
        text.append("\n  ").append_text(_text(f"{RUNTIME_NAMES.get(name, name):26}", "none"))
        text.append(f" {percent_text(found['top1']['value'])}", "none")
        if name != "keras" and "agreement" in found:
            text.append(f", agrees with Keras on {percent_text(found['agreement'], 2)}", "none")
    for failure in row["failures"]:
        text.append("\n").append_text(_text(f"  - {failure}", "red"))
    return text
