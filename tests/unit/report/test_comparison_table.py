from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from featherlite.comparison import Comparison
from featherlite.report.comparison_table import comparison_table

from .made_comparison import FIGURES, failed_row, made_comparison, made_row


def shown(comparison: Comparison, width: int = 160, encoding: str = "utf-8") -> str:
    sink = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Console(file=sink, width=width, highlight=False).print(comparison_table(comparison))
    sink.seek(0)
    return sink.read()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line[3:].startswith(name))


def test_a_wide_terminal_shows_both_forms() -> None:
    text = shown(made_comparison())
    names = [line[3:].split()[0] for line in text.splitlines()[3 : 3 + len(FIGURES)]]
    assert names == [figures[0].split()[0] for figures in FIGURES]
    line = row(text, "MobileNetV2")
    assert line.startswith("★  MobileNetV2")
    for figure in ("imagenet", "95.3% 93.2-96.8", "≈ p=1.00", "9.06 MB", "2.33 MB", "5.13 ms", "2.02 ms", "94.7%"):
        assert figure in line, figure
    assert "> p=0.0082" in row(text, "feathernet taught")
    assert row(text, "AlexNet").count("p=") == 0


def test_the_recommendation_and_its_reason_stand_beneath() -> None:
    after = shown(made_comparison()).split("AlexNet")[1]
    assert "★ Recommended: MobileNetV2\n  MobileNetV2 in int8: 0.4 points below ConvNeXtTiny" in after
    assert "failed EfficientNetB7: OutOfMemory: lower batch_size." in after
    assert "Top-1 on 550 photos" in after
    assert shown(made_comparison(recommended=None, reason="Too few.")).count("★") == 0


def test_the_end_of_a_long_reason_is_told() -> None:
    """There it says how far to trust it."""
    reason = "x " * 200 + "n = 37 photos cannot tell such a difference."
    assert "cannot tell such a difference." in shown(made_comparison(reason=reason), 1000)


def test_eighty_columns_show_what_ships() -> None:
    text = shown(made_comparison(), 80)
    assert "as" in text.splitlines()[1].split()
    assert row(text, "MobileNetV2").split()[-5:] == ["int8", "2.33", "MB", "2.02", "ms"]
    assert row(text, "ConvNeXtTiny").split()[-5:] == ["f32", "111", "MB", "61.7", "ms"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    long = made_row("a name that is much too long for a narrow terminal", *FIGURES[0][1:])
    made = made_comparison(rows=(long, *(made_row(*figures) for figures in FIGURES[1:])))
    text = shown(made, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    lines = text.splitlines()[3 : 3 + len(FIGURES)]
    assert all("%" in line and "-" in line for line in lines)
    assert [line.split("…")[-1].count("…") for line in lines] == [0] * len(lines)
    if width >= 60:
        assert all(re.search(r"(\d (ms|MB|KB)|\d[sm])$", line.rstrip()) for line in lines)


def test_an_ascii_terminal_gets_ascii() -> None:
    made = made_comparison(rows=made_comparison().rows[:-1])
    text = shown(made, 100, "ascii")
    assert text.isascii()
    assert row(text, "MobileNetV2").startswith("*")
    assert "~ p=1.00" in text


def test_nothing_is_read_as_markup_or_obeyed() -> None:
    evil = made_row("[red]x[/red]\x1b[2J\u202e", *FIGURES[0][1:])
    made = made_comparison(
        rows=(evil, failed_row("\x1b]0;x\x07", "[bold]\nsecond line")), pairs=(), recommended=None, reason=""
    )
    text = shown(made)
    assert "[red]x[/red]" in text
    assert "[bold] second line" in text
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text


def test_without_any_row_that_is_done() -> None:
    text = shown(made_comparison(rows=(failed_row(),), pairs=(), recommended=None, reason="None finished."))
    assert "None finished." in text
    assert "failed EfficientNetB7" in text
    assert "top-1" not in text


def test_without_timing() -> None:
    made = made_comparison(rows=(made_row(*FIGURES[0], latency=()),), pairs=(), recommended=None)
    head = shown(made).splitlines()[1]
    assert "size int8" in head
    assert "time" not in head
    assert "next" not in head


def test_drawings_and_notes_are_told() -> None:
    made = made_comparison(drawings=True, rows=(made_row(*FIGURES[0], notes=("Not timed in int8: it stopped.",)),))
    text = shown(made)
    assert "! Sample drawings, not photos" in text
    assert "! EfficientNetB0: Not timed in int8: it stopped." in text
