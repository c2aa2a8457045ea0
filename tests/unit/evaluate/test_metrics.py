from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from featherlite.errors import DataError
from featherlite.evaluate.metrics import MISTAKES, confusion, macro_f1, macro_f1_interval, ranking, scores, top_k_hits
from featherlite.preprocess import softmax

LOGITS = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 4], [5, 0, 1]], dtype=np.float32)
LABELS = np.array([0, 2, 2, 1])
NAMES, PATHS = ["a", "b", "c"], ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def made(logits: np.ndarray = LOGITS, labels: np.ndarray = LABELS, **changes: object) -> dict:
    settings = {"split": "test", "split_hash": "h", "subject": "int8", "reads": 2} | changes
    return scores(logits, labels, NAMES, PATHS[: len(labels)], **settings)


def test_the_document_by_hand() -> None:
    document = made()
    assert (document["n"], document["split_hash"], document["subject"], document["reads"]) == (4, "h", "int8", 2)
    assert (document["top1"]["value"], document["top1"]["n"], document["top1"]["split"]) == (0.5, 4, "test")
    # Wilson for 2 of 4: (0.5 + z^2/8) / (1 + z^2/4) -+ ... = 0.15 to 0.85
    assert (document["top1"]["low"], document["top1"]["high"]) == (
        pytest.approx(0.1500, abs=1e-4),
        pytest.approx(0.8500, abs=1e-4),
    )
    assert document["top5"]["value"] == 1.0
    assert document["confusion"] == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert document["macro_f1"]["value"] == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    assert document["macro_f1"]["low"] <= document["macro_f1"]["value"] <= document["macro_f1"]["high"]
    assert json.loads(json.dumps(document)) == document


def test_mistakes_are_listed_surest_first() -> None:
    mistakes = made()["mistakes"]
    told = [(one["path"], one["label"], one["predicted"]) for one in mistakes]
    assert told == [("3.jpg", "b", "a"), ("1.jpg", "c", "b")]
    assert mistakes[0]["probability"] == pytest.approx(float(softmax(LOGITS[3])[0]), abs=1e-6)


def test_no_more_mistakes_are_kept_than_a_page_shows() -> None:
    n = MISTAKES + 9
    logits = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (n, 1))
    labels, paths = np.ones(n, np.int64), [str(i) for i in range(n)]
    document = scores(logits, labels, ["a", "b"], paths, split="val", split_hash="", subject="x", reads=1)
    assert len(document["mistakes"]) == MISTAKES


def test_ties_go_to_the_lowest_index() -> None:
    logits = np.array([[1, 1, 1, 1], [0, 2, 2, 0]], dtype=np.float32)
    assert ranking(logits, 3).tolist() == [[0, 1, 2], [1, 2, 0]]
    many = np.tile(np.array([0, 1], dtype=np.float32), (1, 200))
    assert ranking(many, 400)[0].tolist() == [*range(1, 400, 2), *range(0, 400, 2)]
    assert top_k_hits(logits, np.array([0, 2]), 1) == 1
    assert top_k_hits(logits, np.array([3, 2]), 2) == 1


def test_the_least_int8_logit_is_the_last_choice() -> None:
    """Negating int8 -128 would wrap around and make it the first."""
    assert ranking(np.array([[-128, 5, 127]], dtype=np.int8), 3).tolist() == [[2, 1, 0]]


def test_an_interval_is_the_same_each_time() -> None:
    matrix = np.array([[8, 2], [1, 9]])
    assert macro_f1_interval(matrix, 3) == macro_f1_interval(matrix, 3)
    low, high = macro_f1_interval(matrix, 3)
    assert 0.5 < low < 0.85 < high <= 1.0


def test_a_perfect_score_has_no_spread() -> None:
    assert macro_f1_interval(np.diag([5, 5, 5])) == (1.0, 1.0)


def test_no_photo_is_refused() -> None:
    with pytest.raises(DataError, match="test split has no photos"):
        made(LOGITS[:0], LABELS[:0])


def test_a_network_that_answers_nan_is_refused() -> None:
    broken = LOGITS.copy()
    broken[1, 2] = np.nan
    with pytest.raises(DataError, match="1 of 4"):
        made(broken)


def dense_interval(matrix: Any, seed: int) -> tuple[float, float]:
    """The same bootstrap with one column a class: plain, and only for few classes."""
    rows, columns = np.nonzero(matrix)
    weights = matrix[rows, columns].astype(np.float64)
    classes = np.arange(len(matrix))
    draws = np.random.default_rng(seed).multinomial(int(weights.sum()), weights / weights.sum(), size=1000)
    hits = draws @ ((rows[:, None] == classes) & (columns[:, None] == classes)).astype(np.float64)
    occurrences = draws @ ((rows[:, None] == classes).astype(np.float64) + (columns[:, None] == classes))
    f1 = np.divide(2 * hits, occurrences, out=np.zeros_like(hits), where=occurrences > 0)
    low, high = np.percentile(f1.sum(axis=1) / (occurrences > 0).sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize(("classes", "photos"), [(2, 5), (7, 60), (40, 90), (120, 3000)])
def test_the_interval_is_that_of_the_plain_bootstrap(classes: int, photos: int) -> None:
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes, photos)
    predicted = np.where(random.random(photos) < 0.6, labels, random.integers(0, classes, photos))
    matrix = confusion(labels, predicted, classes)
    assert macro_f1_interval(matrix, 3) == pytest.approx(dense_interval(matrix, 3), rel=1e-12)


def test_ten_thousand_classes_need_little_memory() -> None:
    """Beside the matrix itself, which is 800 MB of address space and hardly any memory while it is empty."""
    matrix = np.zeros((10_000, 10_000), np.int64)
    places = np.random.default_rng(1).integers(0, 10_000, (2, 2000))
    matrix[places[0], places[1]] = 2
    matrix[places[0], places[0]] = 6
    tracemalloc.start()
    try:
        low, high = macro_f1_interval(matrix, resamples=20)
        assert 0 < low <= high < 1
        assert 0 < macro_f1(matrix) < 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6
