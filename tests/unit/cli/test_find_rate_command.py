"""`featherlite find-rate`: what it prints, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featherlite.cli import all_commands, main
from featherlite.report.rate_plot import rate_plot, write_rate_curve

RATES, LOSSES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), (2.0, 1.9, 1.2, 1.6, 9.0)


@pytest.fixture(scope="module")
def built(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from featherlite.keys import cache_folder
    from featherlite.run import run_step

    place = tmp_path_factory.mktemp("built")
    parted, _ = run_step("split", None, None, {}, data=sample_photos, cache=cache_folder())
    settings = {"backbone": "feathernet", "input_px": 32, "width": 0.5}
    run_step("build", parted, place / "bundle", settings, data=sample_photos, cache=cache_folder())
    return place / "bundle"


def called(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    code = main(["find-rate", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_it_is_found_by_name() -> None:
    assert "find_rate" in all_commands()


def test_it_suggests_and_draws(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file.name: file.read_bytes() for file in built.iterdir() if file.is_file()}
    page = tmp_path / "curves" / "rate.html"
    code, document = called(capsys, built, "--steps", 20, "--batch", 8, "--out", page)
    assert code == 0
    assert 1e-6 < document["suggested"] < 1
    assert len(document["rates"]) == len(document["losses"]) == len(document["smooth"]) <= 20
    text = page.read_text("utf-8")
    assert "<svg" in text
    assert f"{document['suggested']:.2g}" in text
    assert {file.name: file.read_bytes() for file in built.iterdir() if file.is_file()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--out", "curve.png"), ".html or .svg"),
        (("--steps", "3"), "20"),
        (("--batsh", "3"), "--batch"),
        (("--optimizer", "lion"), "adamw"),
    ],
)
def test_a_wrong_request_is_told_before_anything_is_done(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = called(capsys, tmp_path, *words)
    assert code == 2
    assert says in document["error"]["message"] + document["error"]["hint"]


def test_no_bundle_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, tmp_path)[0] == 2


def test_the_drawing_shows_where_it_was_lowest() -> None:
    plot = rate_plot(RATES, LOSSES, LOSSES, 1e-3 / 3)
    assert "suggested: 0.00033" in plot
    assert plot.count("<circle") == 4, "what diverged lies outside"
    assert "rate 0.001: loss 1.2" in plot


def test_an_svg_stands_on_its_own(tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    write_rate_curve(RATES, LOSSES, LOSSES, 1e-3 / 3, tmp_path / "rate.svg")
    root = ElementTree.parse(tmp_path / "rate.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert ".plot" in next(root.iter("{http://www.w3.org/2000/svg}style")).text
