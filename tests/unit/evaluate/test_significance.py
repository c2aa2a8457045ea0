from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from featherlite.evaluate.significance import flip_test, holm, mcnemar, paired_test, seeds_test


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (1, 0, 1.0),  # one throw of a coin says nothing
        (5, 0, 2 / 32),
        (6, 0, 2 / 64),
        (1, 7, 2 * (1 + 8) / 256),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, p_value: float) -> None:
    assert mcnemar(only_first, only_second) == p_value
    assert mcnemar(only_second, only_first) == p_value


def test_mcnemar_of_many_photos_is_a_number() -> None:
    assert mcnemar(5_000, 5_400) == pytest.approx(9.0e-5, rel=0.05)
    assert 0 <= mcnemar(2_000, 8_000) < 1e-300
    assert 0 <= flip_test(np.repeat(np.array([1, -1]), [2_000, 8_000])) < 1e-12


def test_counts_are_not_negative() -> None:
    with pytest.raises(ValueError, match="-1"):
        mcnemar(-1, 2)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_with_one_seed_the_flip_test_is_mcnemars(first: int, second: int, level: int) -> None:
    differences = np.array([1] * first + [-1] * second + [0] * level, np.int64)
    assert flip_test(differences) == pytest.approx(mcnemar(first, second), rel=1e-12)


@given(st.lists(st.integers(-3, 3), max_size=10))
def test_the_flip_test_counts_every_choice_of_signs(differences: list[int]) -> None:
    sizes = [abs(one) for one in differences]
    sums = [
        sum(s * size for s, size in zip(signs, sizes, strict=True)) for signs in product((1, -1), repeat=len(sizes))
    ]
    share = np.mean([abs(one) >= abs(sum(differences)) for one in sums])
    assert flip_test(np.array(differences, np.int64)) == pytest.approx(share, rel=1e-9)


def test_seeds_that_agree_are_one_observation() -> None:
    """Five photos lost under all three seeds are five photos, not fifteen."""
    assert flip_test(np.full(5, 3)) == mcnemar(5, 0)
    assert flip_test(np.full(5, 3)) > mcnemar(15, 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_sharpens(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(0 <= before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert list(np.take(corrected, order)) == sorted(corrected)


def test_one_seed_leaves_mcnemars_test() -> None:
    one, other = np.arange(40) < 36, np.arange(40) < 30
    assert paired_test(one[:, None], other[:, None]) == mcnemar(6, 0)


def test_seeds_that_agree_add_nothing() -> None:
    one, other = (np.repeat((np.arange(40) < right)[:, None], 3, axis=1) for right in (36, 22))
    assert paired_test(one, other) == flip_test(one.sum(axis=1) - other.sum(axis=1)) == mcnemar(14, 0)
    assert paired_test(one, one) == 1.0


def test_seeds_test_by_hand() -> None:
    """Seeds of 4 and 0 right of 4 against none right: photos all differ by 1/2; the seeds' variance is 1/2 / 2."""
    one = np.repeat([[True, False]], 4, axis=0)
    other = np.zeros((4, 2), bool)
    assert seeds_test(one, other) == pytest.approx(2 * t.sf(0.5 / 0.25**0.5, 1))
    assert seeds_test(one, one) == 1.0


def test_one_design_is_seldom_better_than_itself() -> None:
    """Two lots of three seeds of one network, whose seeds differ by a point or two: photos alone tell them apart."""
    random = np.random.default_rng(2)
    exact, paired = 0, 0
    for _ in range(200):
        ease = random.normal(3, 3, (1000, 1))
        one, other = (
            random.random((1000, 3)) < 1 / (1 + np.exp(-(ease + random.normal(0, 0.3, (1, 3))))) for _ in range(2)
        )
        exact += flip_test(one.sum(axis=1) - other.sum(axis=1)) < 0.05
        paired += paired_test(one, other) < 0.05
    assert exact / 200 > 0.3
    assert paired / 200 < 0.09
