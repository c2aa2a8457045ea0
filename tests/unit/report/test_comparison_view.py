from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherlite.comparison import Latency
from featherlite.history import wilson
from featherlite.report.comparison_plot import Dot, pareto_plot, spread_out, tick_text
from featherlite.report.comparison_view import (
    COLUMNS,
    columns_of,
    family,
    front,
    milliseconds_text,
    p_text,
    pretrained,
    scores_of,
    shipped_top1,
    started_from,
    written,
)

from .made_comparison import FIGURES, failed_row, made_row

COLUMN = {column.key: column for column in COLUMNS}


def test_the_front_by_hand() -> None:
    """Cost, score: B beats A (cheaper, better); D costs more than C and gains; E costs as D and scores less."""
    points = [(5.0, 0.8), (4.0, 0.9), (1.0, 0.5), (9.0, 0.95), (9.0, 0.94), (2.0, 0.5)]
    assert front(points) == [2, 1, 3]


def test_equal_points_are_all_on_the_front() -> None:
    assert front([(1.0, 0.5), (2.0, 0.4), (1.0, 0.5)]) == [0, 2]
    assert front([]) == []


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    beaten = {
        index
        for index, (cost, score) in enumerate(points)
        if any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    }
    assert set(front([(float(cost), float(score)) for cost, score in points])) == set(range(len(points))) - beaten


@pytest.mark.parametrize(
    ("model", "kin"),
    [
        ("MobileNetV2", "MobileNet"),
        ("MobileNetV4ConvSmall", "MobileNet"),
        ("EfficientNetV2B0", "EfficientNet"),
        ("ConvNeXtTiny", "ConvNeXt"),
        ("ResNet18", "ResNet"),
        ("SqueezeNet1_1", "SqueezeNet"),
        ("feathernet", "feathernet"),
        ("ViT16", "ViT"),
        ("128px", "128px"),
    ],
)
def test_kin_by_name(model: str, kin: str) -> None:
    assert family(model) == kin


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.8312, "0.831 ms"),
        (0.9996, "1.00 ms"),
        (9.9949, "9.99 ms"),
        (9.996, "10.0 ms"),
        (41.77, "41.8 ms"),
        (99.96, "100 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (12_340.0, "12.3 s"),
    ],
)
def test_milliseconds(ms: float, text: str) -> None:
    assert milliseconds_text(ms) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "p = 1.00"), (0.31, "p = 0.31"), (0.0312, "p = 0.031"), (0.0082, "p = 0.0082"), (0.00099, "p < 0.001")],
)
def test_p_values(p: float, text: str) -> None:
    assert p_text(p) == text


def test_figures_come_from_the_row() -> None:
    row = made_row(*FIGURES[1])
    assert row.name == "MobileNetV2"
    text = {key: written(column, row) for key, column in COLUMN.items()}
    assert text["weight_float32"] == "9.06 MB"  # 2,264,389 * 4
    assert text["weight_int8"] == "2.33 MB"  # 2,264,389 * 1.03
    assert text["ms_float32"] == "5.13 ms"
    assert text["ms_int8"] == "2.02 ms"
    assert text["ms_int8_2"] == "1.23 ms"  # 2.02 * 0.61
    assert text["parameters"] == "2.26M"
    assert text["macs"] == "57.6M"
    assert text["memory_float32"] == "11.8 MB"
    assert text["train_seconds"] == "20m15s"
    assert text["file_int8"] == "2.42 MB"
    assert text["weight_float16"] == "4.53 MB"
    assert text["energy"] == ""


def test_what_ships_decides_which_form_is_meant() -> None:
    int8, float32 = made_row(*FIGURES[1], ships="int8"), made_row(*FIGURES[1], ships="float32")
    assert COLUMN["weight_ships"].value(int8) == int8.weight_bytes["int8"]
    assert COLUMN["weight_ships"].value(float32) == float32.weight_bytes["float32"]
    assert COLUMN["ms_ships"].value(int8) == 2.02
    assert COLUMN["ms_ships"].value(float32) == 5.13
    assert shipped_top1(int8) == int8.int8_top1
    assert shipped_top1(float32) == float32.top1
    assert COLUMN["ms_ships"].value(made_row(*FIGURES[1], ships=None)) is None


def test_columns_without_a_figure_are_left_out() -> None:
    row = made_row(*FIGURES[0], latency=(), peak_memory_bytes={}, energy_mj=1.25, ships=None, int8_top1=None)
    keys = {column.key for column in columns_of([row])}
    assert "energy" in keys
    assert "weight_int8" in keys
    assert not {key for key in keys if key.startswith(("ms_", "memory_")) or key.endswith("_ships")}
    assert [score.key for score in scores_of([row])] == ["top1", "top5", "macro_f1"]
    assert columns_of([failed_row()]) == []


def test_what_is_no_number_is_no_figure() -> None:
    lost = Latency(runtime="litert", precision="float32", threads=1, p50_ms=math.nan, p95_ms=math.inf, runs=1)
    assert COLUMN["ms_float32"].value(made_row(*FIGURES[0], latency=(lost,))) is None


def test_pretrained_or_not() -> None:
    assert pretrained(made_row(*FIGURES[0]))
    assert not pretrained(made_row(*FIGURES[-1]))


def test_ticks() -> None:
    assert tick_text("bytes", 5_000_000) == "5 MB"
    assert tick_text("bytes", 200_000) == "200 KB"
    assert tick_text("ms", 0.5) == "0.5 ms"
    assert tick_text("ms", 2000) == "2 s"
    assert tick_text("seconds", 600) == "10 min"
    assert tick_text("count", 20e6) == "20M"


def test_a_wide_stretch_of_costs_is_drawn_on_a_logarithmic_axis() -> None:
    assert spread_out([1, 8])
    assert not spread_out([1, 7.9])
    assert not spread_out([0, 100])
    dots = [Dot(f"net{cost}", cost, wilson(90, 100), "", 0) for cost in (1e6, 9e6)]
    assert "weight (logarithmic)" in pareto_plot(dots, "weight", "bytes")
    assert "logarithmic" not in pareto_plot(dots[:1], "weight", "bytes")


def test_the_staircase_runs_through_the_front() -> None:
    """Three networks; the one in the middle is beaten, so the line passes above it without a step."""
    dots = [
        Dot("small", 1e6, wilson(80, 100), ""),
        Dot("beaten", 2e6, wilson(70, 100), ""),
        Dot("large", 4e6, wilson(95, 100), ""),
    ]
    plot = pareto_plot(dots, "weight", "bytes")
    line = next(part for part in plot.split("<path ") if 'class="front"' in part)
    assert line.count("V") == 2
    assert "On the Pareto front: small, large." in plot
    assert plot.count("dot c0 fore") == 2


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("none", "scratch"),
        ("imagenet", "imagenet"),
        ("hub:timm/resnet18.a1_in1k", "hub:timm/resnet18.a1_in1k"),
        ("/home/ada/nets/birds.weights.h5", "birds"),
        ("resnet.safetensors", "resnet"),
        ("a" * 30 + "b" * 30 + ".keras", "a" * 27 + "…" + "b" * 8),
    ],
)
def test_what_a_row_started_from_fits_a_table(weights: str, said: str) -> None:
    assert started_from(made_row(*FIGURES[0]).model_copy(update={"weights": weights})) == said
