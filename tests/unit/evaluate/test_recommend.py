from __future__ import annotations

from dataclasses import replace

import pytest

from featherlite.comparison import Weigh
from featherlite.evaluate.recommend import Candidate, efficient, recommend

BIG = Candidate("big", 0.95, 4_000_000, 8.0, 1.0, 600)
MIDDLE = Candidate("middle", 0.938, 800_000, 1.6, 0.31, 600)
SMALL = Candidate("small", 0.90, 200_000, 1.0, 0.002, 600)


def test_a_tie_in_accuracy_goes_to_the_smaller_and_quicker() -> None:
    """big: 0.2 * log2(20) + 0.2 * 3 = 1.46; middle: 1.2 * 0.69 + 0.2 * 2 + 0.2 * 0.68 = 1.36; small: 5 points."""
    found = recommend([BIG, MIDDLE, SMALL], Weigh())
    assert found.name == "middle"
    assert found.reason == (
        "middle in float32: 1.2 points below big in float32 (not significant, p = 0.31), "
        "at a fifth of its size and time."
    )
    assert found.efficient == ("big", "middle", "small")


@pytest.mark.parametrize(
    ("weigh", "name"),
    [
        (Weigh(accuracy=1, size=0, time=0), "big"),  # no cost at all, and the best
        (Weigh(accuracy=0, size=1, time=0), "small"),
        (Weigh(accuracy=0, size=0, time=1), "small"),
        (Weigh(accuracy=0.1, size=0.2, time=0.2), "small"),  # half a point for two doublings less
        (Weigh(accuracy=0, size=0, time=0), "big"),
    ],
)
def test_the_users_weights_decide(weigh: Weigh, name: str) -> None:
    assert recommend([SMALL, BIG, MIDDLE], weigh).name == name


def test_the_very_balance_of_a_point_against_doublings() -> None:
    """2 sure points against 4 doublings of the size, at 0.5 each: on either side of it the other one wins."""
    best, other = Candidate("best", 0.95, 16, 1.0, 1.0, 99), Candidate("other", 0.93, 1, 1.0, 0.0, 99)
    assert recommend([best, other], Weigh(accuracy=1, size=0.49, time=0)).name == "best"
    assert recommend([best, other], Weigh(accuracy=1, size=0.51, time=0)).name == "other"


@pytest.mark.parametrize(("lost", "p_value"), [(0.02, 0.0), (0.04, 0.5), (0.08, 0.75)])
def test_points_count_as_far_as_they_are_sure(lost: float, p_value: float) -> None:
    """Two sure points, four counted by half, eight by a quarter: each weighs as much as two doublings at 1."""
    best, other = Candidate("best", 0.95, 4, 1.0, 1.0, 40), Candidate("other", 0.95 - lost, 1, 1.0, p_value, 40)
    assert recommend([best, other], Weigh(accuracy=1, size=0.99, time=0)).name == "best"
    assert recommend([best, other], Weigh(accuracy=1, size=1.01, time=0)).name == "other"


def test_there_is_no_cliff() -> None:
    """Where the verdict turns, at 0.05, the choice does not: between both sides lies a tenth of a point's weight."""
    chosen = set()
    for p_value in (0.049, 0.051):
        other = Candidate("other", 0.80, 1, 1.0, p_value, 37)
        for size in (7.10, 7.15):  # 15 * 0.95 = 14.25 points against two doublings
            best = Candidate("best", 0.95, 4, 1.0, 1.0, 37)
            chosen.add((size, recommend([best, other], Weigh(accuracy=1, size=size, time=0)).name))
    assert chosen == {(7.10, "best"), (7.15, "other")}


def test_the_correction_for_many_is_for_the_verdict_not_for_the_cost() -> None:
    other = Candidate("other", 0.80, 1, 1.0, p_value=1.0, n=37, p_alone=0.1, seeds=3)
    found = recommend([Candidate("best", 0.95, 4, 1.0, 1.0, 37), other], Weigh())
    assert found.name == "best"
    assert found.reason == (
        "best in float32: the best top-1 of what would ship (95.0%, n = 37), 15.0 points above other in float32 "
        "(not significant, p = 1), at 4.0 times its size and 100% of its time. "
        "n = 37 photos and 3 seeds cannot tell such a difference; more of them would."
    )


@pytest.mark.parametrize(("lost", "p_value", "told"), [(0.02, 0.9, False), (0.03, 0.9, True), (0.03, 0.04, False)])
def test_a_gap_that_the_photos_cannot_tell_is_told(lost: float, p_value: float, told: bool) -> None:
    best, other = Candidate("best", 0.95, 4096, 1.0, 1.0, 40), Candidate("other", 0.95 - lost, 1, 1.0, p_value, 40)
    found = recommend([best, other], Weigh(accuracy=0.1))
    assert found.name == "other"
    assert found.reason.endswith("n = 40 photos cannot tell such a difference; more test photos would.") == told


def test_what_is_worse_in_everything_is_never_recommended() -> None:
    """It is tied with the best and would cost nothing here."""
    poor = Candidate("poor", 0.949, 5_000_000, 9.0, 0.9, 600)
    found = recommend([poor, BIG], Weigh(accuracy=1, size=0, time=0))
    assert found.name == "big"
    assert found.efficient == ("big",)
    assert "no other is smaller or quicker" in found.reason


def test_efficient_by_hand() -> None:
    twin = replace(BIG, name="twin")
    dominated = replace(MIDDLE, name="dominated", size_bytes=900_000)
    assert [one.name for one in efficient([BIG, twin, MIDDLE, dominated, SMALL])] == ["big", "twin", "middle", "small"]


def test_time_counts_only_where_all_were_timed() -> None:
    untimed = replace(SMALL, time_ms=None)
    found = recommend([BIG, untimed], Weigh(accuracy=0, size=0, time=1))
    assert found.name == "big"  # all cost nothing
    assert found.reason.endswith("Time was not measured for all, and does not count.")
    assert "time," not in found.reason


def test_the_best_is_held_against_the_runner_up() -> None:
    found = recommend([BIG, replace(SMALL, form="int8")], Weigh(accuracy=9))
    assert found.reason == (
        "big in float32: the best top-1 of what would ship (95.0%, n = 600), 5.0 points above small in int8 "
        "(significant, p = 0.002), at 20.0 times its size and 8.0 times its time."
    )


def test_alone_and_none() -> None:
    assert recommend([SMALL], Weigh()).reason == "small in float32: the only network that finished."
    assert recommend([], Weigh()).name is None


def test_equal_costs_go_by_accuracy_then_size_then_name() -> None:
    one, two = Candidate("b", 0.9, 100, 1.0, 1.0, 9), Candidate("a", 0.9, 100, 1.0, 1.0, 9)
    assert recommend([one, two], Weigh()).name == "a"
    assert recommend([replace(one, top1=0.91), replace(two, p_value=0.7)], Weigh()).name == "b"
