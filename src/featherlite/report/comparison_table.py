"""A comparison in the terminal: a row a network, best first, and what to ship; as many columns as there is room."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from featherlite.comparison import Comparison, Pair, Row
from featherlite.report.comparison_view import COLUMNS, Column, next_to, p_text, started_from, written
from featherlite.report.units import percent_text

if TYPE_CHECKING:
    from rich.console import JustifyMethod

__all__ = ["comparison_table"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
MOST_ERROR = 300
MOST_REASON = 900
"""The reason is told in full, since its end says how far to trust it; only names that are no names are cut."""
SHORTENED = 24
"""To how many signs a longer name is shortened rather than a column left out."""
LEAST = 5
"""Signs of a name that are always shown."""

DROPPED = (
    ("memory",),
    ("params",),
    ("MACs",),
    ("from",),
    ("int8 top-1",),
    ("train",),
    # Without room for both forms, what ships stands alone.
    ("size f32", "size int8", "time f32", "time int8"),
    ("road",),
    ("next",),
    ("as",),
    ("time",),
    ("size",),
)
"""What is left out where the terminal is narrow, the most dispensable first."""
ALONE = ("as", "size", "time")
"""What stands for both forms where these have no room."""


@dataclass(frozen=True)
class _Cell:
    """A column of the terminal's table."""

    name: str
    text: Callable[[Row], Text]
    justify: JustifyMethod = "right"


def comparison_table(comparison: Comparison) -> RenderableType:
    """The table, the recommendation with its reason, what failed, and how to read it; as wide as the console is.

    Nothing in it is read as markup. Where the console speaks ASCII only, so does the table.
    """
    return _Fitted(comparison)


class _Fitted:
    """Picks its columns when it is shown, since only then its width is known."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = _Signs("*", "~", ">") if options.ascii_only else _Signs("★", "≈", ">")
        done = [row for row in self.comparison.rows if row.status == "done" and row.top1 is not None]
        yield _line(self.comparison.title, "bold")
        if done:
            yield _fitting(done, _cells(self.comparison, done, signs), options.max_width)
        yield from _recommendation(self.comparison, signs)
        for row in self.comparison.rows:
            if row not in done:
                yield Text("failed ", "red").append_text(_line(f"{row.name}: {row.error or 'no reason given'}", "none"))
        yield from _notes(self.comparison, done, signs)


@dataclass(frozen=True)
class _Signs:
    ships: str
    alike: str
    better: str


def _cells(comparison: Comparison, rows: Sequence[Row], signs: _Signs) -> list[_Cell]:
    """All columns that have something to say of these rows, in their order."""
    pairs = next_to(comparison)
    by_key = {column.key: column for column in COLUMNS}
    cells = [
        _Cell("", lambda row: Text(signs.ships if row.name == comparison.recommended else "", "green"), "left"),
        _Cell("network", lambda row: _line(row.name, "bold" if row.name == comparison.recommended else ""), "left"),
        _Cell("road", lambda row: _line(row.road), "left"),
        _Cell("from", lambda row: _line(started_from(row)), "left"),
        _Cell("px", lambda row: Text(str(row.input_px or ""))),
        _Cell("top-1 (95%)", _top1, "left"),
        _Cell("next", lambda row: _against(pairs.get(row.name), signs), "left"),
        *(
            _Cell(f"{what} {short}", _form(by_key[f"{key}_{form}"], form))
            for what, key in (("size", "weight"), ("time", "ms"))
            for short, form in (("f32", "float32"), ("int8", "int8"))
        ),
        _Cell("as", lambda row: Text({"float32": "f32", "int8": "int8"}.get(row.ships or "", "")), "left"),
        _Cell("size", lambda row: Text(_shipped(by_key, "weight", row))),
        _Cell("time", lambda row: Text(_shipped(by_key, "ms", row))),
        _Cell("int8 top-1", lambda row: Text(percent_text(row.int8_top1.value) if row.int8_top1 else "")),
        *(
            _Cell(name, _plain(by_key[key]))
            for name, key in (
                ("params", "parameters"),
                ("MACs", "macs"),
                ("memory", "memory_int8"),
                ("train", "train_seconds"),
            )
        ),
    ]
    same = {"px"} if len({row.input_px for row in rows}) == 1 else set()
    return [
        cell
        for cell in cells
        if cell.name in ("", "network") or (cell.name not in same and any(cell.text(row).plain for row in rows))
    ]


def _fitting(rows: Sequence[Row], cells: Sequence[_Cell], room: int) -> Table:
    """The table with as many of the columns as there is room for; a name may be shortened, a figure never is."""
    alone = [cell for cell in cells if cell.name in ALONE]
    kept = [cell for cell in cells if cell.name not in ALONE]
    for names in ((), *DROPPED):
        if "size f32" in names:
            place = next((index for index, cell in enumerate(kept) if cell.name in names), len(kept))
            kept[place:place] = alone
        kept = [cell for cell in kept if cell.name not in names]
        widths = {cell.name: _width(cell, rows) for cell in kept}
        needed = sum(widths.values()) - max(0, widths["network"] - SHORTENED) + 2 * (len(kept) - 1)
        if needed <= room:
            break
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for cell in kept:
        left = room - needed + min(widths["network"], SHORTENED)
        wide = max(LEAST, min(widths["network"], left)) if cell.name == "network" else widths[cell.name]
        table.add_column(cell.name, justify=cell.justify, no_wrap=True, overflow="ellipsis", width=wide)
    for row in rows:
        table.add_row(*(cell.text(row) for cell in kept))
    return table


def _width(cell: _Cell, rows: Sequence[Row]) -> int:
    return max(cell_len(cell.name), *(cell.text(row).cell_len for row in rows))


def _top1(row: Row) -> Text:
    if row.top1 is None:
        return Text()
    text = Text(percent_text(row.top1.value).rjust(6))
    return text.append(f" {row.top1.low * 100:.1f}-{row.top1.high * 100:.1f}", "dim")


def _against(pair: Pair | None, signs: _Signs) -> Text:
    if pair is None:
        return Text()
    sign = Text(signs.better, "green") if pair.significant else Text(signs.alike, "yellow")
    return sign.append(f" {p_text(pair.p_value).replace(' ', '')}", "dim")


def _form(column: Column, form: str) -> Callable[[Row], Text]:
    """The figure of one form: bold where that form ships, dim where the other does."""

    def text(row: Row) -> Text:
        style = "" if row.ships is None else "bold" if row.ships == form else "dim"
        return Text(written(column, row), style)

    return text


def _plain(column: Column) -> Callable[[Row], Text]:
    return lambda row: Text(written(column, row))


def _shipped(by_key: Mapping[str, Column], what: str, row: Row) -> str:
    return written(by_key[f"{what}_{row.ships or 'float32'}"], row)


def _recommendation(comparison: Comparison, signs: _Signs) -> list[Text]:
    if comparison.recommended is None:
        return [_line(comparison.reason)] if comparison.reason else []
    text = Text(f"{signs.ships} ", "green").append_text(_line(f"Recommended: {comparison.recommended}", "bold"))
    return [text, _line(f"  {comparison.reason}", most=MOST_REASON)] if comparison.reason else [text]


def _notes(comparison: Comparison, done: Sequence[Row], signs: _Signs) -> list[Text]:
    notes = []
    if done:
        photos = "every photo once, by a network that had not seen it" if comparison.split == "folds" else "the same"
        notes.append(
            _line(
                f"Top-1 on {comparison.n:,} photos, {photos} for all rows. "
                + (f"{signs.alike} the next may be as good (McNemar, p >= 0.05). " if comparison.pairs else "")
                + "Size: the weights, 1 KB = 1000 bytes. Time: median of a photo on one thread.",
                "dim",
            )
        )
    for row in done:
        notes += [Text("! ", "yellow").append_text(_line(f"{row.name}: {note}", "none")) for note in row.notes]
    if comparison.drawings:
        warning = "Sample drawings, not photos: these scores say nothing about real birds."
        notes.append(Text("! ", "yellow").append(warning, "none"))
    return notes


def _line(content: str, style: str = "", most: int = MOST_ERROR) -> Text:
    """Text as it stands: no markup, and nothing that a terminal would obey; what is very long is cut."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", content.replace("\n", " "))
    return Text(text if len(text) <= most else f"{text[:most]}…", style)
