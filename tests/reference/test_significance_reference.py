"""McNemar's exact test and Wilson's interval against SciPy's binomial test."""

from __future__ import annotations

import numpy as np
import pytest

from featherlite.evaluate.significance import flip_test, mcnemar
from featherlite.history import wilson_interval

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 9), (12, 12), (40, 61), (200, 150), (0, 30)])
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    differences = np.repeat(np.array([1, -1]), [first, second])
    assert flip_test(differences) == pytest.approx(expected, rel=1e-9)


def test_the_flip_test_is_scipys_permutation_test() -> None:
    differences = np.array([3, -1, 2, 0, 1, 1, -2, 3, 1, -1, 2])
    found = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert flip_test(differences) == pytest.approx(found.pvalue, rel=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 10), (97, 100), (50, 50)])
def test_the_interval_is_wilsons(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
