"""Confident learning: thresholds and the joint by hand, planted wrong labels, twins and companions."""

import numpy as np
import pytest

from featherlite.data.confident import (
    Beliefs,
    _likely,
    _without_companions,
    beliefs,
    companions,
    conditioned,
    group_numbers,
    thresholds,
    wrong_labels,
)
from featherlite.data.discriminant import fit

LABELS = np.array([0, 0, 0, 1, 1])
CHANCES = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.45, 0.55]])


def believed(chances: np.ndarray, labels: np.ndarray) -> Beliefs:
    top = np.argsort(-chances, axis=1, kind="stable")
    own = -np.log(chances[np.arange(len(labels)), labels])
    return Beliefs(own, top, np.take_along_axis(chances, top, axis=1))


def blobs(photos: int, classes: int, seed: int = 0, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centers = random.normal(size=(classes, width)) * 4 + 12
    labels = np.repeat(np.arange(classes), photos)
    return (centers[labels] + random.normal(size=(len(labels), width))).astype(np.float32), labels


def test_thresholds_by_hand() -> None:
    own = CHANCES[np.arange(5), LABELS]  # 0.9 0.8 0.1 | 0.7 0.55; mean 0.61
    assert thresholds(own, LABELS, 3, lean=0).tolist() == pytest.approx([0.6, 0.625, 0.0])
    assert thresholds(own, LABELS, 3, lean=1).tolist() == pytest.approx([(1.8 + 0.61) / 4, (1.25 + 0.61) / 3, 0.61])


def test_only_classes_whose_threshold_is_reached_count_and_the_most_probable_of_them() -> None:
    # thresholds 0.6 and 0.625: photos 0 and 1 count as 0, photos 2 and 3 as 1, photo 4 reaches neither
    assert _likely(believed(CHANCES, LABELS), np.array([0.6, 0.625])).tolist() == [0, 0, 1, 1, -1]
    assert set(_likely(believed(CHANCES, LABELS), np.array([0.95, 0.95])).tolist()) == {-1}
    assert _likely(believed(np.array([[0.48, 0.52]]), np.array([0])), np.array([0.4, 0.4])).tolist() == [1]


def test_planted_wrong_labels_come_first_with_the_class_that_they_had() -> None:
    features, labels = blobs(40, 5)
    planted = np.random.default_rng(1).choice(200, 10, replace=False)
    wrong = labels.copy()
    wrong[planted] = (labels[planted] + 2) % 5
    found = wrong_labels(features, wrong, np.arange(200), 5)
    assert set(found.photo[:10].tolist()) == set(planted.tolist())
    assert (found.to[:10] == labels[found.photo[:10]]).all()
    assert found.sure[:10].sum() >= 7  # and the others are as doubtful as doubtful photos of that class
    assert (np.diff(found.score) <= 0).all()
    assert ((found.score >= 0.5) & (found.score <= 1)).all()


def test_nothing_is_suspected_where_classes_lie_far_apart() -> None:
    features, labels = blobs(40, 3)
    assert len(wrong_labels(features, labels, np.arange(120), 3).photo) == 0


def test_twins_with_the_same_wrong_label_do_not_vouch_for_each_other() -> None:
    features, labels = blobs(6, 4, seed=2)
    features = np.concatenate([features, np.repeat(features[:1], 4, axis=0)])
    labels = np.concatenate([labels, [1, 1, 1, 1]])  # four copies of a photo of class 0, labeled as class 1
    copies = set(range(24, 28))
    apart = wrong_labels(features, labels, np.arange(28), 4)
    together = wrong_labels(features, labels, group_numbers(28, [(0, 24, 25, 26, 27)]), 4)
    assert not copies & set(apart.photo.tolist())
    assert copies <= set(together.photo.tolist())
    assert (together.to[np.isin(together.photo, list(copies))] == 0).all()


def test_companions_are_the_two_of_a_small_class_that_are_nearest_in_the_whole_set() -> None:
    directions = np.array(
        [[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0.5], [0, 0, 1], [0, 0.52, 1], [0.7, 0.1, 1]], np.float32
    )
    features = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    assert companions(features, labels, np.arange(7), 2).tolist()[0] == [0, 1]
    near_duplicates = group_numbers(7, [(0, 1)])
    assert [0, 1] not in companions(features, labels, near_duplicates, 2).tolist()
    assert companions(features[:2], labels[:2], np.arange(2), 2).tolist() == []  # of two, no class would be left


def test_two_alike_photos_with_one_wrong_label_do_not_vouch_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    features, labels = blobs(5, 12, seed=5, width=16)
    strange = features[15:20].mean(axis=0) + random.normal(size=16) * 1.5  # of class 3, taken on another day
    features[[0, 1]] = strange + random.normal(size=(2, 16)) * 0.2
    found = wrong_labels(features, labels, np.arange(60), 12)
    assert set(found.photo[:2].tolist()) == {0, 1}
    assert found.to[:2].tolist() == [3, 3]
    monkeypatch.setattr("featherlite.data.confident.companions", lambda *_: np.zeros((0, 2), np.int64))
    single = wrong_labels(features, labels, np.arange(60), 12)
    assert {0, 1} - set(single.photo.tolist()) or single.score[:2].max() < found.score[:2].min()


def test_of_a_pair_the_less_surprising_photo_counts_for_both() -> None:
    features, labels = blobs(6, 5, seed=3)
    made = fit(features, labels, 5)
    found = beliefs(made, features, labels, np.arange(30))
    pairs = np.array([[0, 1], [13, 16]])
    joined = _without_companions(found, made, features, labels, pairs)
    for pair in pairs:
        groups = np.arange(30)
        groups[pair] = pair[0]
        apart = beliefs(made, features, labels, groups).own[pair].min()
        np.testing.assert_allclose(joined.own[pair], (found.own[pair] + apart) / 2, rtol=1e-7)
    rest = np.setdiff1d(np.arange(30), pairs)
    np.testing.assert_array_equal(joined.own[rest], found.own[rest])


def test_companions_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    features, labels = random.normal(size=(140, 9)), np.repeat(np.arange(14), 10)
    features[3::10] = features[1::10] + random.normal(size=(14, 9)) * 0.3
    features = conditioned(features.astype(np.float32))
    whole = companions(features, labels, np.arange(140), 14)
    assert len(whole) >= 10
    monkeypatch.setattr("featherlite.data.confident.CHUNK", 66)  # one class at a time
    np.testing.assert_array_equal(companions(features, labels, np.arange(140), 14), whole)
    for first, second in whole.tolist():  # against all others, one by one
        alike = features @ features[first]
        alike[first] = -1
        assert alike.argmax() == second


@pytest.mark.parametrize("sizes", [(1, 5), (2, 2), (1, 1), (4, 40)])
def test_tiny_classes_are_judged_without_a_fault(sizes: tuple[int, int]) -> None:
    features, _ = blobs(40, 2)
    labels = np.repeat([0, 1], sizes)
    found = wrong_labels(features[: len(labels)], labels, np.arange(len(labels)), 2)
    assert np.isfinite(found.score).all()
    if sizes[0] == 1:
        assert 0 not in found.photo  # nothing can be said of the only photo of its class


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [12, 300])
def test_nothing_is_said_of_photos_that_all_show_the_same(count: int) -> None:
    features, labels = blobs(count // 2, 2)
    assert len(wrong_labels(features, labels, np.zeros(count, np.int64), 2).photo) == 0


def test_features_are_conditioned_to_signed_roots_of_length_one() -> None:
    found = conditioned(np.array([[9.0, -16.0], [0.0, 0.0]], np.float32))
    assert found.tolist() == [pytest.approx([0.6, -0.8]), [0.0, 0.0]]


def test_group_numbers_join_what_a_cluster_holds() -> None:
    assert group_numbers(6, [(1, 4), (2, 3, 5)]).tolist() == [0, 1, 2, 2, 1, 2]
