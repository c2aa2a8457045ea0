"""Exact held-out predictions: equal to refitting without the photo, or without its whole group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.data.discriminant import Discriminant, _lower_inverse, fit, fit_temperature, log_softmax, moments


def plain(features: np.ndarray, labels: np.ndarray, classes: int, ridge: float) -> Discriminant:
    """A fit with a given ridge on the scatter, so that a refit without some photos has the same one."""
    known = moments(features, labels, classes)
    values, vectors = np.linalg.eigh(known.scatter)
    whiten = vectors / np.sqrt(values + ridge)
    return Discriminant(known.mean, whiten, known.centers @ whiten, known.counts)


def refitted(features: np.ndarray, labels: np.ndarray, classes: int, ridge: float, gone: np.ndarray) -> np.ndarray:
    """Squared distances of the photos in `gone`, by NumPy's own inverse, of a fit that never saw them."""
    kept = np.setdiff1d(np.arange(len(labels)), gone)
    scatter, found = ridge * np.eye(features.shape[1]), np.full((len(gone), classes), np.inf)
    means = {}
    for number in np.unique(labels[kept]):
        members = features[kept][labels[kept] == number]
        means[number] = members.mean(axis=0)
        scatter += (members - means[number]).T @ (members - means[number])
    for number, mean in means.items():
        apart = features[gone] - mean
        found[:, number] = np.einsum("ij,jk,ik->i", apart, np.linalg.inv(scatter), apart)
    return found


def test_two_classes_on_a_line_by_hand() -> None:
    # class 0 at 0 and 2, class 1 at 9 and 11: means 1 and 10, scatter 1 + 1 + 1 + 1 = 4, no ridge
    made = plain(np.array([[0.0], [2.0], [9.0], [11.0]]), np.array([0, 0, 1, 1]), 2, 0.0)
    assert made.distances(made.whitened(np.array([[1.0], [4.0]]))) == pytest.approx(np.array([[0, 81 / 4], [9 / 4, 9]]))
    # without the photo at 0 class 0 is at 2 and the scatter 2: 2^2 / 2 and 10^2 / 2
    assert made.without_self(made.whitened(np.array([[0.0]])), np.array([0])) == pytest.approx(np.array([[2.0, 50.0]]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 5))
def test_leaving_out_equals_refitting(seed: int, width: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, 24)
    features = random.normal(size=(24, width)) + labels[:, None]
    made = plain(features, labels, classes, 0.7)
    alone = made.without_self(made.whitened(features), labels)
    for photo in range(24):
        expected = refitted(features, labels, classes, 0.7, np.array([photo]))
        np.testing.assert_allclose(alone[photo], expected[0], rtol=1e-7)
    group = random.choice(24, random.integers(2, 7), replace=False)
    together = made.without_groups(made.whitened(features[group])[None], labels[group][None])[0]
    np.testing.assert_allclose(together, refitted(features, labels, classes, 0.7, group), rtol=1e-7)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([1, 1000]), st.integers(2, 5))
def test_groups_of_all_sizes_equal_refitting(seed: int, large: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, 40)
    features = random.normal(size=(40, 5)) + labels[:, None]
    groups = random.permutation(np.repeat(np.arange(13), [1] * 5 + [2] * 4 + [3, 4, 8, 12]))
    made = plain(features, labels, classes, 0.7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featherlite.data.discriminant.LARGE", large)  # 1: larger ones leave the scatter itself
        patch.setattr("featherlite.data.discriminant.CHUNK", int(random.integers(1, 9)))
        seen = []
        for photos, squares, _ in made.held_out_distances(features, labels, groups):
            seen += photos.tolist()
            for photo, found in zip(photos.tolist(), squares, strict=True):
                gone = np.flatnonzero(groups == groups[photo])
                expected = refitted(features, labels, classes, 0.7, gone)[gone.tolist().index(photo)]
                np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert sorted(seen) == list(range(40))


def test_a_triangle_is_inverted_by_quarters() -> None:
    lower = np.tril(np.random.default_rng(0).normal(size=(301, 301)) / 50) + np.eye(301)
    np.testing.assert_allclose(_lower_inverse(lower) @ lower, np.eye(301), atol=1e-9)


def test_a_class_that_leaves_with_its_group_cannot_be_chosen() -> None:
    features = np.array([[0.0, 1.0], [0.1, 1.0], [5.0, 0.0], [5.2, 0.3], [5.1, -0.2]])
    labels = np.array([0, 0, 1, 1, 1])
    made = plain(features, labels, 2, 0.1)
    squares = made.without_groups(made.whitened(features[:2])[None], labels[:2][None])[0]
    np.testing.assert_allclose(squares, refitted(features, labels, 2, 0.1, np.array([0, 1])))
    assert np.isinf(squares[:, 0]).all()


def test_a_photo_alone_in_its_class_has_no_own_class_left() -> None:
    features = np.array([[0.0], [5.0], [6.0]])
    made = plain(features, np.array([0, 1, 1]), 2, 1.0)
    assert np.isinf(made.without_self(made.whitened(features), np.array([0, 1, 1]))[0, 0])


def test_held_out_says_something_of_every_photo_once_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 3, 50)
    features = (random.normal(size=(50, 4)) + labels[:, None]).astype(np.float32)
    groups = np.arange(50)
    groups[[4, 9, 30]] = 4
    made = fit(features, labels, 3)

    def table() -> np.ndarray:
        found = np.full((50, 3), np.nan)
        for photos, squares, inside in made.held_out_distances(features, labels, groups):
            assert np.isnan(found[photos]).all()
            found[photos] = made.log_probabilities(squares)
            np.testing.assert_allclose(inside, ((made.whitened(features[photos])) ** 2).sum(axis=1))
        return found

    whole = table()
    assert np.exp(whole).sum(axis=1) == pytest.approx(1.0)
    monkeypatch.setattr("featherlite.data.discriminant.CHUNK", 7)
    np.testing.assert_allclose(table(), whole)
    np.testing.assert_allclose(moments(features, labels, 3).scatter, moments(features[::-1], labels[::-1], 3).scatter)


def test_the_temperature_gives_the_labels_their_frequency() -> None:
    # scores (1, 0) where class 0 is right three times in four: softmax(t, 0) = 3/4 at t = log 3
    scores = np.array([[1.0, 0.0]] * 4)
    temperature, loss = fit_temperature(scores, np.array([0, 0, 0, 1]))
    assert temperature == pytest.approx(np.log(3), rel=1e-4)
    assert loss == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4, rel=1e-6)


def test_log_softmax_takes_infinities_and_large_scores() -> None:
    assert np.exp(log_softmax(np.array([[1e4, 1e4, -np.inf]])))[0].tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_features_of_no_width_in_scatter_do_not_divide_by_zero() -> None:
    made = fit(np.ones((6, 3), np.float32), np.array([0, 0, 0, 1, 1, 1]), 2)
    (_, logs), *_ = made.held_out(np.ones((6, 3), np.float32), np.array([0, 0, 0, 1, 1, 1]), np.arange(6))
    assert np.exp(logs) == pytest.approx(0.5)
