"""A run beside somebody else's ladder: which rows meet, how top-1 moved in both, and what is shown of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from featherlite.bundle import Bundle
from featherlite.cli import main
from featherlite.reference import RUN_NOTE, Reference
from featherlite.report.beside import beside_table, pairs_of
from featherlite.report.ladder import ladder_rows
from featherlite.report.next_steps import RunNote
from featherlite.report.page import render_page

from .conftest import build, photo_rows

REFERENCE = Reference.model_validate(
    {
        "name": "[b]article[/b]\x1b",
        "note": "Other <i>photos</i>.",
        "rows": [
            {"step": "train", "title": "large", "parameters": 4_491_895, "top1": 0.95},
            {"title": "fewer classes", "top1": 0.85},
            {"step": "quantize", "title": "<b>small</b>", "parameters": 190_770, "top1": 0.83, "int8_top1": 0.82},
            {"step": "verify", "title": "proven"},
            {"step": "elsewhere", "title": "gone"},
        ],
    }
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    names = ["Robin", "Wren"]
    build(tmp_path / "out" / "bundle", names, photo_rows(names, 400))
    note = {"recipe": {"name": "mine", "steps": [{"id": "split"}], "reference": REFERENCE.model_dump()}}
    (tmp_path / "out" / RUN_NOTE).write_text(json.dumps(note))
    return tmp_path / "out"


def test_rows_meet_by_step_and_changes_pass_over_what_was_not_walked(out: Path) -> None:
    rows = ladder_rows(Bundle.open(out).history, None)
    pairs = pairs_of(rows, REFERENCE)
    assert [pair["own"] and pair["own"]["id"] for pair in pairs] == ["train", None, "quantize", "verify", None]
    theirs = [pair["change"]["theirs"] for pair in pairs]
    assert theirs == [None, pytest.approx(-0.10), pytest.approx(-0.02), None, None]
    by_id = {row["id"]: row for row in rows}
    moved = by_id["quantize"]["top1"]["value"] - by_id["train"]["top1"]["value"]
    assert moved != 0
    assert [pair["change"]["own"] for pair in pairs] == [None, None, pytest.approx(moved), None, None], (
        "the last but one was measured on other photos"
    )
    assert [pair["own_int8"] for pair in pairs] == [by_id["quantize"]["top1"]["value"], None, None, None, None], (
        "an artefact's top-1 stands beside the network that it was made of"
    )


def test_the_terminal_shows_both_at_eighty_columns(out: Path) -> None:
    told = io.StringIO()
    Console(file=told, width=80).print(beside_table(ladder_rows(Bundle.open(out).history, None), REFERENCE))
    lines = told.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "Beside the [b]article[/b]\\x1b" in lines[0], "neither markup nor what a terminal would obey"
    assert next(line for line in lines if line.startswith("large")).split()[1:4] == ["4.49M", "95.0%", "train"]
    assert lines[1].split() == ["theirs", "params", "top-1", "int8", "here", "params", "top-1", "int8"]
    assert "not walked" in next(line for line in lines if line.startswith("fewer"))


def test_the_ladder_command_shows_it_and_its_document_holds_it(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", str(out)]) == 0
    assert "4.49M" in capsys.readouterr().out
    assert main(["ladder", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["beside"]["rows"][0]["theirs"]["title"] == "large"
    (out / RUN_NOTE).unlink()
    assert main(["ladder", str(out), "--json"]) == 0
    assert "beside" not in json.loads(capsys.readouterr().out)


def test_the_page_shows_it_escaped(out: Path) -> None:
    page = render_page(Bundle.open(out), None, note=RunNote("featherlite run", reference=REFERENCE))
    assert "&lt;b&gt;small&lt;/b&gt;" in page
    assert "<i>photos" not in page
    assert "4,491,895" in page
    assert page.count("not walked") == 2
    assert page.count(">int8</th>") == 2
    assert "Beside the" not in render_page(Bundle.open(out), None)
