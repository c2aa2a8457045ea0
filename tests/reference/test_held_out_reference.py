"""Held-out probabilities in closed form against folds that leave out a photo, or a group, and fit all over again."""

import numpy as np

from featherlite.data.discriminant import Discriminant, moments


def solve(features: np.ndarray, labels: np.ndarray, classes: int, ridge: float, temperature: float, asked: np.ndarray):
    """Class probabilities by the textbook: means, pooled scatter, linear solve, softmax; no whitening, no updates."""
    means = np.stack([features[labels == number].mean(axis=0) for number in range(classes)])
    scatter = ridge * np.eye(features.shape[1])
    for row, label in zip(features, labels, strict=True):
        scatter += np.outer(row - means[label], row - means[label])
    squares = np.array([[(row - mean) @ np.linalg.solve(scatter, row - mean) for mean in means] for row in asked])
    raised = np.exp(-temperature * (squares - squares.min(axis=1, keepdims=True)))
    return raised / raised.sum(axis=1, keepdims=True)


def test_held_out_equals_folds_of_groups() -> None:
    random = np.random.default_rng(11)
    labels = np.repeat(np.arange(4), 9)
    features = (random.normal(size=(36, 10)) + random.normal(size=(4, 10))[labels]).astype(np.float32)
    groups = np.arange(36)
    groups[[1, 2, 20]] = 1  # one group across two classes
    groups[[9, 10, 11, 12, 13]] = 9
    known = moments(features, labels, 4)
    values, vectors = np.linalg.eigh(known.scatter)
    whiten = vectors / np.sqrt(values + 2.5)
    made = Discriminant(known.mean, whiten, known.centers @ whiten, known.counts, temperature=3.0)
    found = np.empty((36, 4))
    for photos, logs in made.held_out(features, labels, groups):
        found[photos] = np.exp(logs)
    wide = features.astype(np.float64)
    for group in np.unique(groups):
        out = groups == group
        expected = solve(wide[~out], labels[~out], 4, 2.5, 3.0, wide[out])
        np.testing.assert_allclose(found[out], expected, rtol=1e-8, atol=1e-12)
