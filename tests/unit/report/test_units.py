from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.report.units import bytes_text, count_text, percent_text, points_text, seconds_text


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 KB"), (9_999, "10.0 KB"), (310_792, "311 KB"), (999_600, "1.00 MB")],
)
def test_bytes_are_decimal_and_carry_three_digits(count: int, said: str) -> None:
    assert bytes_text(count) == said


def test_counts() -> None:
    assert [count_text(n) for n in (7, 219_101, 4_491_895, 7_540_000_000)] == ["7", "219k", "4.49M", "7.54G"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**14))
def test_a_size_never_needs_more_than_seven_characters(count: int) -> None:
    assert len(bytes_text(count)) <= 7


@pytest.mark.parametrize(
    ("share", "said"), [(0.9109, "91.1%"), (1.0, "100.0%"), (0.99996, ">99.9%"), (0.0, "0.0%"), (0.9995, ">99.9%")]
)
def test_only_all_of_them_reads_as_a_hundred_percent(share: float, said: str) -> None:
    assert percent_text(share) == said


def test_points_and_seconds() -> None:
    assert [points_text(value) for value in (0.723, -0.012, -0.0001)] == ["+72.3", "-1.2", "0.0"]
    times = (0.41, 9.96, 59.6, 725, 11_040)
    assert [seconds_text(value) for value in times] == ["0.4s", "10s", "1m00s", "12m05s", "3h04m"]
