"""docs/compare.md names what there is: its study is read as a study, its options are those of the command."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from featherlite.cli.commands.compare import CompareOptions
from featherlite.comparison import Weigh
from featherlite.report.comparison_page import PAGE, render
from featherlite.study.plan import parse_study

from .made_comparison import made_comparison

TEXT = (Path(__file__).parents[3] / "docs" / "compare.md").read_text("utf-8")


def test_the_study_is_one() -> None:
    document = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[0]
    study = parse_study(tomllib.loads(document), "docs")
    assert [(entry.name, entry.road) for entry in study.entries] == [
        ("MobileNetV2", "tuned"),
        ("feathernet", "scratch"),
    ]
    assert study.seeds == (0, 1, 2)
    assert study.weigh == Weigh(accuracy=1.0, size=0.5, time=0.2)


def test_options_and_files_are_there() -> None:
    options = set(re.findall(r"--([a-z]+)", TEXT))
    assert options - {"json"} <= set(CompareOptions.model_fields), options
    assert f"compared/{PAGE}" in TEXT


def test_headings_are_those_of_the_page() -> None:
    page = render(made_comparison())
    section = TEXT.split("## The page")[1].split("## What")[0]
    named = re.findall(r"\*\*([A-Z][^*]+)\*\*", section)
    headings = [re.sub(r"\s+", " ", heading) for heading in named]
    assert headings == re.findall(r"<h2>(.*?)</h2>", page)


def test_the_usual_weights_are_those_named() -> None:
    weigh = Weigh()
    assert f"({weigh.accuracy:g}, {weigh.size:g}, {weigh.time:g})" in TEXT
    assert f"{2 ** (weigh.accuracy / weigh.size):.0f} times smaller" in TEXT
