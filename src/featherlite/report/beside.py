"""A run's ladder beside somebody else's: the same course of steps, row by row, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from featherlite.reference import Reference, ReferenceRow
from featherlite.report.ladder import Row
from featherlite.report.templating import visible
from featherlite.report.units import count_text, percent_text

__all__ = ["Pair", "beside_document", "beside_table", "beside_view", "pairs_of"]

Pair = dict[str, Any]
"""One row of theirs with what this run has there, in JSON's types; `own` is None where the run has not come there, and
`own_int8` the top-1 of the artefact made of that network, where one was scored on the same photos."""


def pairs_of(rows: Sequence[Row], reference: Reference) -> list[Pair]:
    """Their rows in their order, each with the ladder's row of the step that it belongs to.

    `change` is how top-1 moved since their row before, in theirs and in the run's; the run's only where both were
    measured on the same photos. What they have and this run has not is passed over in the run's changes.
    """
    own, int8 = {row["id"]: row for row in rows}, _int8_of(rows)
    pairs: list[Pair] = []
    former: tuple[ReferenceRow, Row | None] | None = None
    for theirs in reference.rows:
        mine = own.get(theirs.step or "")
        rounded = int8.get(theirs.step or "")
        pair: Pair = {"theirs": theirs.model_dump(), "own": mine, "own_int8": rounded}
        pair["change"] = {"theirs": None, "own": None}
        if former is not None:
            before, row = former
            if theirs.top1 is not None and before.top1 is not None:
                pair["change"]["theirs"] = theirs.top1 - before.top1
            pair["change"]["own"] = _change(row, mine)
        pairs.append(pair)
        former = theirs, mine or (former[1] if former else None)
    return pairs


def _int8_of(rows: Sequence[Row]) -> dict[str, float]:
    """By a step's id, the top-1 of the int8 artefact made of what it left, on the photos that scored the network."""
    found: dict[str, float] = {}
    network: Row | None = None
    for row in rows:
        if row["subject"] == "network":
            network = row
        elif row["subject"] == "int8" and network is not None and _change(network, row) is not None:
            found.setdefault(network["id"], row["top1"]["value"])
    return found


def _change(former: Mapping[str, Any] | None, row: Mapping[str, Any] | None) -> float | None:
    first, second = (one["top1"] if one else None for one in (former, row))
    if not first or not second or (first["split"], first["n"]) != (second["split"], second["n"]):
        return None
    return float(second["value"] - first["value"])


def beside_document(rows: Sequence[Row], reference: Reference | None) -> dict[str, Any]:
    """What a JSON document says of a run's reference, under `beside`; nothing where there is none."""
    return {} if reference is None else {"beside": {"name": reference.name, "rows": pairs_of(rows, reference)}}


def beside_view(rows: Sequence[Row], reference: Reference) -> dict[str, Any]:
    """What the page's template shows: whose figures they are, how far they compare, and the pairs."""
    shown = {key for row in reference.rows for key, value in row.model_dump().items() if value is not None}
    pairs = pairs_of(rows, reference)
    shown |= {"own_int8"} if any(pair["own_int8"] is not None for pair in pairs) else set()
    return {"name": reference.name, "note": reference.note, "pairs": pairs, "shown": shown}


def beside_table(rows: Sequence[Row], reference: Reference) -> Group:
    """Both ladders side by side, at 80 columns. Nothing in it is read as markup."""
    table = Table(
        title=Text(f"Beside the {visible(reference.name)}", "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    pairs = pairs_of(rows, reference)
    rounded = any(pair["own_int8"] is not None for pair in pairs)
    table.add_column("theirs", no_wrap=True, overflow="ellipsis", max_width=22 if rounded else 26)
    for name in ("params", "top-1", "int8"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True, overflow="ellipsis", max_width=13 if rounded else 16)
    for name in ("params", "top-1", *(["int8"] if rounded else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        theirs, own = pair["theirs"], pair["own"]
        table.add_row(
            Text(visible(theirs["title"])),
            _count(theirs["parameters"]),
            _percent(theirs["top1"]),
            _percent(theirs["int8_top1"]),
            Text(visible(theirs["step"] or "not walked"), "" if own else "dim"),
            _count(own["parameters"] if own else None),
            _percent(own["top1"]["value"] if own and own["top1"] else None),
            *([_percent(pair["own_int8"])] if rounded else []),
        )
    return Group(table, Text(visible(" ".join(reference.note.split())), "dim"))


def _count(value: int | None) -> str:
    return "" if value is None else count_text(value)


def _percent(value: float | None) -> str:
    return "" if value is None else percent_text(value)
