from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from featherlite.evaluate.metrics import confusion, macro_f1, macro_f1_interval
from featherlite.evaluate.pooled import mean_estimate, mean_macro_f1
from featherlite.history import wilson, wilson_interval


def test_one_seed_is_wilsons_interval() -> None:
    hits = np.array([True] * 7 + [False] * 3)[:, None]
    assert mean_estimate(hits, "test") == wilson(7, 10, "test")


def test_seeds_that_agree_photo_by_photo_tell_no_more_than_one() -> None:
    hits = np.repeat(np.array([True] * 70 + [False] * 30)[:, None], 3, axis=1)
    estimate = mean_estimate(hits)
    assert (estimate.low, estimate.high) == pytest.approx((wilson(70, 100).low, wilson(70, 100).high))
    assert estimate.n == 100


def test_two_seeds_by_hand() -> None:
    """Shares 0.5 and 1 over four photos: variance between photos 0.0625 / 4, between seeds 0.125 / 2."""
    hits = np.array([[True, True], [True, True], [False, True], [False, True]])
    photos, seeds = 0.0625 / 4, 0.125 / 2
    freedom = ((photos + seeds) / seeds) ** 2
    assert freedom == 1.25**2
    expected = wilson_interval(0.75, 0.75 * 0.25 / (photos + seeds), float(t.ppf(0.975, freedom)))
    estimate = mean_estimate(hits)
    assert estimate.value == 0.75
    assert (estimate.low, estimate.high) == pytest.approx(expected)


def test_seeds_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    alike = random.random((500, 3)) < 0.8
    apart = random.random((500, 3)) < np.array([0.7, 0.8, 0.9])
    assert width(apart) > 2 * width(alike)


def width(hits: np.ndarray) -> float:
    estimate = mean_estimate(hits)
    return estimate.high - estimate.low


@pytest.mark.parametrize("share", [0, 1])
def test_all_right_and_all_wrong_stay_within_bounds(share: int) -> None:
    estimate = mean_estimate(np.full((20, 3), bool(share)))
    single = wilson(20 * share, 20)
    assert (estimate.low, estimate.high) == (single.low, single.high)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """300 made-up studies of 3 seeds whose networks and photos differ: at least 95% within 2 points."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        ease, luck = random.normal(0, 1.5, (200, 1)), random.normal(0, 0.2, (1, 3))
        hits = random.random((200, 3)) < 1 / (1 + np.exp(-(1.2 + ease + luck)))
        estimate = mean_estimate(hits)
        held += estimate.low <= TRUTH <= estimate.high
    assert held / 300 >= 0.93


def test_few_seeds_that_differ_hold_the_truth_on_many_photos() -> None:
    """Where seeds make most of the chance, 1.96 deviations, guessed from three of them, hold it 87 times in 100."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        hits = random.random((3000, 3)) < 0.8 + random.normal(0, 0.03, (1, 3))
        estimate = mean_estimate(hits)
        held += estimate.low <= 0.8 <= estimate.high
    assert held / 300 >= 0.92


def test_the_bootstrap_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(6)
    labels, predicted = random.integers(0, 3, 50), random.integers(0, 3, (50, 2))
    whole = mean_macro_f1(labels, predicted, 3)
    monkeypatch.setattr("featherlite.evaluate.pooled.DRAWN", 50 * 7)
    assert mean_macro_f1(labels, predicted, 3) == whole


def _truth() -> float:
    random = np.random.default_rng(1)
    logits = 1.2 + random.normal(0, 1.5, 400_000) + random.normal(0, 0.2, 400_000)
    return float(np.mean(1 / (1 + np.exp(-logits))))


TRUTH = _truth()


def test_macro_f1_of_one_seed_is_that_of_its_confusion_matrix() -> None:
    random = np.random.default_rng(3)
    labels, predicted = random.integers(0, 4, 80), random.integers(0, 4, (80, 1))
    matrix = confusion(labels, predicted[:, 0], 4)
    score = mean_macro_f1(labels, predicted, 4)
    assert (score.value, (score.low, score.high)) == (macro_f1(matrix), macro_f1_interval(matrix))


def test_macro_f1_of_seeds_is_their_mean() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 3, 200)
    predicted = np.stack([np.where(random.random(200) < p, labels, (labels + 1) % 3) for p in (0.6, 0.9)], axis=1)
    each = [macro_f1(confusion(labels, one, 3)) for one in predicted.T]
    score = mean_macro_f1(labels, predicted, 3)
    assert score.value == pytest.approx(np.mean(each))
    assert score.low < score.value < score.high
    assert score == mean_macro_f1(labels, predicted, 3)
    agree = mean_macro_f1(labels, np.repeat(predicted[:, :1], 2, axis=1), 3)
    assert score.high - score.low > agree.high - agree.low
