from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.history import wilson
from featherlite.report.curves import Band, Series, curve_plot
from featherlite.report.plots import Point, interval_strip, ladder_plot
from featherlite.report.svg import Linear, Log, Svg, element, linear_ticks, log_ticks


def test_an_element_escapes_what_is_not_markup() -> None:
    inner = element("b", "<i>")
    assert inner == "<b>&lt;i&gt;</b>"
    assert element("a", inner, title='"x"', class_="k", stroke_width=1.5, gone=None) == (
        '<a title="&quot;x&quot;" class="k" stroke-width="1.5"><b>&lt;i&gt;</b></a>'
    )
    assert isinstance(inner, Svg)


def test_scales() -> None:
    assert Linear(0, 10, 100, 0)(2.5) == 75
    assert Log(10, 1000, 0, 200)(100) == pytest.approx(100)


def test_ticks() -> None:
    assert linear_ticks(0.62, 0.97) == [0.7, 0.8, 0.9]
    assert linear_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert log_ticks(214e3, 1.27e6) == [3e5, 5e5, 7e5, 1e6]
    assert log_ticks(1e3, 1e9) == [1e3, 1e5, 1e7, 1e9]


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_linear_ticks_are_few_and_inside(low: float, span: float) -> None:
    ticks = linear_ticks(low, low + span)
    assert len(ticks) <= 6
    assert all(low - span * 1e-3 - 1e-9 <= tick <= low + span * 1.001 + 1e-9 for tick in ticks)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 10**9), st.integers(0, 50), st.sampled_from(["val", "test"])), min_size=1, max_size=9
    ),
    st.sampled_from([370, 720]),
)
def test_any_ladder_draws_every_rung_inside_its_frame(rungs: list[tuple[int, int, str]], width: int) -> None:
    points = [Point(f"step {i}", size, wilson(hits, 50, split)) for i, (size, hits, split) in enumerate(rungs)]
    root = ElementTree.fromstring(ladder_plot(points, width, 320))
    marked = [group for group in root.iter("g") if (group.get("class") or "").startswith("rung")]
    assert len(marked) == len(points)
    assert all(0 <= float(line.get("x1", 0)) <= width for group in marked for line in group.iter("line"))


def test_no_two_names_on_a_ladder_overlap() -> None:
    points = [Point(f"step number {i}", 300_000 + i, wilson(90 + i % 2, 100, "val")) for i in range(6)]
    root = ElementTree.fromstring(ladder_plot(points))
    boxes = []
    for text in root.iter("text"):
        if text.get("class") == "name":
            long, x = 7.3 * len(text.text or ""), float(text.get("x", 0))
            left = x - {"start": 0, "middle": long / 2, "end": long}[text.get("text-anchor", "start")]
            boxes.append((left, left + long, float(text.get("y", 0))))
    assert len(boxes) >= 3
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert one[1] <= other[0] or other[1] <= one[0] or abs(one[2] - other[2]) >= 16


def test_curves_show_phases_and_leave_out_what_is_not_a_number() -> None:
    line = Series("train", "train", (1, 2, 3), (0.2, float("nan"), 0.8))
    plot = curve_plot("Accuracy", [line], [Band("head only", 1, 1), Band("all layers", 2, 3)], 3, share=True)
    assert plot is not None
    root = ElementTree.fromstring(plot)
    assert len(list(root.iter("circle"))) == 2
    assert "Accuracy by epoch: train ends at 80.0%" in plot
    assert [text.text for text in root.iter("text") if text.get("class") == "phase-name"][-1] == "all layers"
    assert curve_plot("Loss", [Series("a", "train", (1,), (float("inf"),))]) is None


def test_one_epoch_is_enough() -> None:
    plot = curve_plot("Loss", [Series("a", "train", (1,), (0.0,))])
    assert plot is not None
    assert "nan" not in plot


def test_the_strip_says_its_numbers() -> None:
    strip = interval_strip(wilson(50, 100, "test"), 0.25)
    assert "50.0%, 95% interval 40.4% to 59.6%" in strip
    assert "guessing 25.0%" in strip
