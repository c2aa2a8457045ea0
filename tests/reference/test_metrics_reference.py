"""The metrics against hand-worked values, a naive second implementation, and scikit-learn where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.evaluate.metrics import (
    confusion,
    macro_f1,
    macro_f1_interval,
    paired_loss,
    per_class,
    top_k_hits,
)

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
PREDICTED = np.array([0, 0, 1, 1, 2, 2, 2, 2, 0, 3])


def naive_f1(labels: list[int], predicted: list[int]) -> dict[int, float]:
    """F1 by class, by its definition, over the classes that occur."""
    found = {}
    for label in sorted({*labels, *predicted}):
        tp = sum(t == p == label for t, p in zip(labels, predicted, strict=True))
        fp = sum(t != label == p for t, p in zip(labels, predicted, strict=True))
        fn = sum(t == label != p for t, p in zip(labels, predicted, strict=True))
        found[label] = 2 * tp / (2 * tp + fp + fn)
    return found


def test_the_confusion_matrix_by_hand() -> None:
    assert confusion(LABELS, PREDICTED, 5).tolist() == [
        [2, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [1, 0, 3, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_precision_recall_and_f1_by_hand() -> None:
    rows = per_class(confusion(LABELS, PREDICTED, 5), ["a", "b", "c", "d", "e"])
    assert [row["n"] for row in rows] == [3, 2, 4, 1, 0]
    assert [row["precision"] for row in rows] == [pytest.approx(2 / 3), 0.5, 0.75, 1.0, None]
    assert [row["recall"] for row in rows] == [pytest.approx(2 / 3), 0.5, 0.75, 1.0, None]
    assert [row["f1"] for row in rows] == [pytest.approx(2 / 3), 0.5, 0.75, 1.0, None]
    assert macro_f1(confusion(LABELS, PREDICTED, 5)) == pytest.approx((2 / 3 + 0.5 + 0.75 + 1) / 4)


def test_a_class_that_was_never_predicted_has_no_precision_but_counts_as_zero() -> None:
    matrix = confusion(np.array([0, 1, 1]), np.array([0, 0, 0]), 2)
    rows = per_class(matrix, ["a", "b"])
    assert (rows[1]["precision"], rows[1]["recall"], rows[1]["f1"]) == (None, 0.0, 0.0)
    assert macro_f1(matrix) == pytest.approx(0.25)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
def test_macro_f1_equals_its_definition(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (list(column) for column in zip(*pairs, strict=True))
    expected = naive_f1(labels, predicted)
    assert macro_f1(confusion(np.array(labels), np.array(predicted), 5)) == pytest.approx(
        sum(expected.values()) / len(expected)
    )


def test_against_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    labels = random.integers(0, 20, 300)
    predicted = np.where(random.random(300) < 0.7, labels, random.integers(0, 22, 300))
    matrix = confusion(labels, predicted, 25)
    assert (matrix == reference.confusion_matrix(labels, predicted, labels=np.arange(25))).all()
    assert macro_f1(matrix) == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    logits = random.normal(size=(300, 25))
    for k in (1, 5):
        ours = top_k_hits(logits.astype(np.float32), labels, k) / 300
        assert ours == pytest.approx(reference.top_k_accuracy_score(labels, logits, k=k, labels=np.arange(25)))


def test_the_bootstrap_equals_drawing_the_photos() -> None:
    """Resampling cells of the matrix gives the interval that resampling the photos one by one gives."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 4, 120)
    predicted = np.where(random.random(120) < 0.75, labels, random.integers(0, 4, 120))
    drawn = []
    for _ in range(1500):
        chosen = random.integers(0, 120, 120)
        f1 = naive_f1(labels[chosen].tolist(), predicted[chosen].tolist())
        drawn.append(sum(f1.values()) / len(f1))
    low, high = macro_f1_interval(confusion(labels, predicted, 4), seed=1)
    # The 2.5% quantile of 1000 draws with a spread of 0.04 has a standard error of about 0.003.
    assert [low, high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist(), abs=0.015)


def test_the_exact_test_of_a_loss_by_hand() -> None:
    # 6 photos lost, none won: 1 / 64 = 1.6%, more than chance. 5 lost: 1 / 32 = 3.1%, not yet.
    was_right = np.ones(100, dtype=bool)
    for lost, expected in ((6, True), (5, False)):
        is_right = was_right.copy()
        is_right[:lost] = False
        assert paired_loss(was_right, is_right) == (pytest.approx(lost / 100), expected)
    # 12 lost, 3 won: sum of C(15, k) for k >= 12 is 576; 576 / 32768 = 1.76%.
    right_before = np.repeat([True, False, True], [12, 3, 85])
    right_after = np.repeat([False, True, True], [12, 3, 85])
    loss, beyond = paired_loss(right_before, right_after)
    assert (loss, beyond) == (pytest.approx(0.09), sum(math.comb(15, k) for k in range(12, 16)) / 2**15 < 0.025)
    assert paired_loss(right_after, right_before) == (pytest.approx(-0.09), False)
