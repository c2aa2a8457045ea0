from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherlite.history import wilson


def test_wilson_by_hand() -> None:
    """Hits 8 of 10: Wilson's own formula, worked on paper with z = 1.96: 0.490 to 0.943."""
    estimate = wilson(8, 10, "test")
    assert estimate.value == pytest.approx(0.8)
    assert estimate.low == pytest.approx(0.4902, abs=2e-4)
    assert estimate.high == pytest.approx(0.9433, abs=2e-4)
    assert (estimate.n, estimate.split) == (10, "test")


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_value_and_stays_in_range(case: tuple[int, int]) -> None:
    hits, n = case
    estimate = wilson(hits, n)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert not math.isnan(estimate.low)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 5), (6, 5), (1, -1)])
def test_nonsense_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="hits"):
        wilson(hits, n)


@pytest.mark.parametrize(
    ("hits", "n", "classes", "beats"),
    [
        (80, 100, 2, True),
        (55, 100, 2, False),  # 45% to 64%: as well a coin
        (100, 500, 5, False),
        (15, 500, 100, True),  # 1.8% to 4.9%, where one in a hundred is guessing
        (10, 10, 1, False),  # of one class there is nothing to guess
    ],
)
def test_more_than_guessing_is_an_interval_that_lies_above_it(hits: int, n: int, classes: int, beats: bool) -> None:
    assert wilson(hits, n).beats_guessing(classes) is beats
