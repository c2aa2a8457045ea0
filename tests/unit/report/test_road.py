"""The ladder's drawing: which rungs are drawn, which scores are joined, and that all of it lies inside."""

from __future__ import annotations

import re
from typing import Any

import pytest

from featherlite.history import Measure, StepReport, wilson
from featherlite.report.descent import rungs_of
from featherlite.report.ladder import ladder_rows
from featherlite.report.plots import Point, ladder_plot
from featherlite.report.road import ladder_view


def step(
    name: str, hits: int, n: int, split: str = "val", size: int = 4000, classes: int = 2, subject: str = "network"
) -> StepReport:
    after = Measure(
        subject=subject,
        input_px=96,
        classes=classes,
        parameters=size // 4,
        macs=5 * size,
        bytes=size,
        top1=wilson(hits, n, split),
    )
    return StepReport(
        step=name, id=name, key="0" * 16, config={}, seed=1, code="c", started="now", seconds=1, after=after
    )


def view(*reports: StepReport) -> dict[str, Any]:
    found = ladder_view(ladder_rows(reports, None))
    assert found is not None
    return found


def test_of_two_classes_what_knows_more_than_a_coin_is_drawn() -> None:
    """Half of the photos is what a coin gets right; 80 of 100 are surely more."""
    rungs = [step("build", 50, 100), step("train", 82, 100, size=3000), step("prune", 80, 100, size=2000)]
    assert view(*rungs)["left_out"] == ["build"]
    drawn = rungs_of(ladder_rows(rungs, None), lambda row: str(row["id"]))
    assert [rung.learned for rung in drawn] == [False, True, True]


def test_a_rung_is_judged_by_its_own_classes() -> None:
    """A tenth right is much where there are a hundred classes, and less than a coin where there are two."""
    rungs = [step("train", 100, 1000, classes=100), step("prune", 100, 1000, size=2000, classes=2)]
    assert view(*rungs)["left_out"] == ["prune"]


def test_only_scores_of_the_same_photos_are_joined_and_each_set_has_its_legend() -> None:
    """After `prune_outputs` the validation photos are those of the classes that are left."""
    rungs = [
        step("train", 800, 1000, classes=8),
        step("tail", 790, 1000, size=3500, classes=8),
        step("prune_outputs", 640, 750, size=3000, classes=6),
        step("evaluate", 630, 750, "test", size=2000, classes=6),
    ]
    found = view(*rungs)
    assert re.findall(r'class="(join[ a-z]*)"', found["wide"]) == ["join", "join other", "join other"]
    assert found["photos"] == [("val", 1000), ("val", 750), ("test", 750)]


def test_an_artefact_on_the_way_is_no_station_of_the_way() -> None:
    rungs = [
        step("train", 80, 100),
        step("start-in-int8", 70, 100, size=1000, subject="int8"),
        step("prune", 78, 100, size=3000),
        step("quantize", 77, 100, size=700, subject="int8"),
    ]
    found = view(*rungs)
    assert found["wide"].count('class="join"') == 2
    assert "start-in-int8" not in found["wide"]
    assert "quantize int8" in found["wide"]
    assert "start-in-int8" in found["descent"]["wide"], "there each row has a line of its own"


@pytest.mark.parametrize("width", [340, 720])
def test_a_crowd_of_rungs_of_one_size_stays_inside(width: int) -> None:
    points = [Point(f"s{number}", 300_000 - number, wilson(800, 1000, "val")) for number in range(60)]
    circles = [float(x) for x in re.findall(r'<circle cx="([-\d.]+)"', ladder_plot(points, width))]
    assert len(circles) == 60
    assert circles == sorted(circles, reverse=True), "time runs against size"
    assert min(circles) >= 46
    assert max(circles) <= width - 14
