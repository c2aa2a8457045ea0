"""Losses by hand and against Keras's."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from featherlite.training.config import FitConfig
from featherlite.training.losses import LabelledTop1, LabelLoss, label_loss

LOGITS = np.log(np.float32([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
TARGETS = np.float32([[1, 0, 0], [0, 0.5, 0.5]])


def value(targets: np.ndarray, **options: object) -> float:
    return float(LabelLoss(FitConfig(**options))(targets, LOGITS))


def test_crossentropy_by_hand() -> None:
    # -log 0.5 = 0.693147; -(log 0.8 + log 0.1) / 2 = 1.262864
    assert value(TARGETS) == pytest.approx((0.693147 + 1.262864) / 2, rel=1e-5)


def test_focal_by_hand() -> None:
    # (1 - 0.5)^2 * 0.693147 = 0.173287; (0.2^2 * 0.223144 + 0.9^2 * 2.302585) / 2 = 0.937010
    assert value(TARGETS, loss="focal", focal_gamma=2.0) == pytest.approx((0.173287 + 0.937010) / 2, rel=1e-5)
    assert value(TARGETS, loss="focal", focal_gamma=0.0) == pytest.approx(value(TARGETS), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_is_keras_focal(gamma: float, smoothing: float) -> None:
    from featherlite.training.batches import targets

    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (40, 7)).astype(np.float32)
    wanted = targets(random.integers(0, 7, 40), 7, smoothing)
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=gamma, from_logits=True)
    ours = LabelLoss(FitConfig(loss="focal", focal_gamma=gamma))
    assert float(ours(wanted, logits)) == pytest.approx(float(theirs(wanted, logits)), rel=1e-4)


def gradient(loss: keras.losses.Loss, targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        answer = loss(targets, variable)
    return np.asarray(tape.gradient(answer, variable))


@pytest.mark.parametrize("loss", ["crossentropy", "focal"])
def test_targets_of_any_sum_scale_loss_and_gradient_alike(loss: str) -> None:
    """TensorFlow's fused kernel takes rows for distributions: its gradient would be wrong for any others."""
    ours = label_loss(FitConfig(loss=loss, class_weights="balanced"), weighted=True)
    scale = np.float32([[3.0], [0.0]])
    plain, scaled = gradient(ours, TARGETS, LOGITS), gradient(ours, scale * TARGETS, LOGITS)
    np.testing.assert_allclose(scaled, scale * plain, atol=1e-6)
    assert np.abs(plain).min() > 0
    if loss == "crossentropy":
        fused = gradient(label_loss(FitConfig(), weighted=False), TARGETS, LOGITS)
        np.testing.assert_allclose(plain, fused, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_gradient_where_the_answer_is_certain(gamma: float) -> None:
    ours = LabelLoss(FitConfig(loss="focal", focal_gamma=gamma))
    slope = gradient(ours, np.float32([[1, 0], [1, 0]]), np.float32([[200, -200], [-200, 200]]))
    assert np.isfinite(slope).all()
    assert slope[1, 0] < 0


def test_top1_counts_the_labelled_alone() -> None:
    metric = LabelledTop1(name="top1")
    metric.update_state(np.float32([[1, 0], [0, 2], [0, 0]]), np.float32([[3, 1], [3, 1], [3, 1]]))
    assert float(metric.result()) == 0.5
    metric.reset_state()
    metric.update_state(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32))
    assert float(metric.result()) == 0.0
