"""Rounding in float: against TensorFlow's own fake quantization, by hand, and with the gradients it lets through."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.quantize.correction import rounded
from featherlite.quantize.fake_quantization import (
    FakeConv2D,
    FakeDense,
    FakeDepthwiseConv2D,
    FakeRange,
    FakeSwish,
    fake_quantized_values,
    on_levels,
)
from featherlite.training.optimizers import is_kernel

VALUES = np.random.default_rng(4).normal(0, 2, 4000).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.floats(-20, 0), st.floats(0.01, 20))
def test_values_are_rounded_as_tensorflow_does(low: float, high: float) -> None:
    ours = np.asarray(fake_quantized_values(VALUES, low, high))
    theirs = tf.quantization.fake_quant_with_min_max_vars(VALUES, low, high).numpy()
    step = (high - low) / 255
    assert np.abs(ours - theirs).max() <= step * 1.01, "a value half-way may fall to either side"
    assert (np.abs(ours - theirs) > step * 0.01).mean() < 0.002
    zero = np.rint(ours / step)
    np.testing.assert_allclose(ours, zero * step, atol=step * 0.01)


def test_zero_is_a_level_and_an_empty_range_is_no_fault() -> None:
    """-1 .. 2 has the step 3/255 and its zero at the 85th level: 0.5 lies between the 42nd and the 43rd step above."""
    found = np.asarray(fake_quantized_values(np.float32([0.0, 0.5, -7.0, 7.0]), -1.0, 2.0))
    np.testing.assert_allclose(found, [0.0, 42 * 3 / 255, -1.0, 2.0], atol=1e-6)
    assert np.isfinite(np.asarray(fake_quantized_values(VALUES, 0.0, 0.0))).all()


def test_means_half_way_are_rounded_away_from_the_zero_of_int8() -> None:
    """0 .. 255 has the step 1, and int8's zero is at 128: halves below it go down, those above go up."""
    halves = np.float32([10.5, 11.5, 127.5, 128.5, 200.5, 10.4, 200.6])
    found = np.asarray(fake_quantized_values(halves, 0.0, 255.0, pooled=True))
    np.testing.assert_allclose(found, [10, 11, 127, 129, 201, 10, 201])


def test_kernels_lie_on_the_grid_of_the_artefact_with_a_straight_gradient() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    kernel[..., 2] = 0.0
    weights = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        found = on_levels(weights, (0, 1, 2))
        total = tf.reduce_sum(found * 3.0)
    np.testing.assert_array_equal(found.numpy(), rounded(kernel, (0, 1, 2)))
    np.testing.assert_array_equal(tape.gradient(total, weights).numpy(), np.full_like(kernel, 3.0))


def test_the_ends_of_a_range_get_the_gradient_of_what_they_cut() -> None:
    """By hand, in the range -128 .. 127 with the step 1: inside dx = 1, outside 0; a cut value pulls at its end.

    With s = (high - low) / 255 and the value v = round(x / s) s inside, dv/ds = round(x / s) - x / s.
    """
    ends = [tf.Variable(-128.0), tf.Variable(127.0)]
    for value, wanted in ((3.25, [1.0, 0.25 / 255, -0.25 / 255]), (300.0, [0.0, 0.0, 1.0]), (-300.0, [0.0, 1.0, 0.0])):
        x = tf.Variable(value)
        with tf.GradientTape() as tape:
            found = fake_quantized_values(x, *ends)
        np.testing.assert_allclose(tape.gradient(found, [x, *ends]), wanted, atol=1e-5)


def test_a_learned_range_follows_its_gradient_and_keeps_its_signs() -> None:
    """Values over the high end raise it when more is wanted; an end at zero stays there; pace multiplies the way."""
    found = []
    for pace in (1.0, 10.0):
        layer = FakeRange(0.0, 1.0, "learned", pace=pace)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(tf.fill((1, 8), 3.0)))
        gradients = tape.gradient(total, layer.trainable_weights)
        assert float(gradients[0]) == 0.0
        found.append(float(gradients[1]))
        layer.range_low.assign(5.0)
        layer.range_high.assign(np.log(2.0) / pace)
        np.testing.assert_allclose([float(end) for end in layer.limits()], [0.0, 2.0], rtol=1e-6)
    assert found[0] == pytest.approx(8 / np.sqrt(8 * 255), rel=1e-3)
    assert found[1] == pytest.approx(10 * found[0])
    assert not any(is_kernel(weight) for weight in layer.trainable_weights), "ranges are neither decayed nor penalized"


def test_a_moving_range_follows_the_extremes_of_its_places() -> None:
    """By hand with momentum 0.9: -1 + 0.1 (-3 + 1) = -1.2 at place 0; 1 + 0.1 (5 - 1) = 1.4 at place 1."""
    layer = FakeRange(-1.0, 1.0, "moving", places=2, momentum=0.9)
    layer(np.float32([[-3.0, 1.0]]), training=True, place=0)
    layer(np.float32([[-1.0, 5.0]]), training=True, place=1)
    np.testing.assert_allclose([float(end) for end in layer.limits()], [-1.2, 1.4], rtol=1e-6)
    layer(np.float32([[-9.0, 9.0]]), training=False, place=0)
    layer(np.float32([[-9.0, 9.0]]), training=True, pooled=True)
    layer.trainable = False
    layer(np.float32([[-9.0, 9.0]]), training=True, place=0)
    np.testing.assert_allclose([float(end) for end in layer.limits()], [-1.2, 1.4], rtol=1e-6)
    positive = FakeRange(0.0, 1.0, "moving", momentum=0.5)
    positive(np.float32([[0.5, 2.0]]), training=True)
    np.testing.assert_allclose([float(end) for end in positive.limits()], [0.0, 1.5])


def test_a_fixed_range_has_no_weights() -> None:
    layer = FakeRange(-1.0, 1.0)
    layer(np.float32([[-9.0, 9.0]]), training=True)
    assert not layer.weights
    assert [float(end) for end in layer.limits()] == [-1.0, 1.0]


PLAIN: dict[type, tuple[Any, tuple[int, ...]]] = {
    FakeConv2D: (keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu6"), (0, 1, 2)),
    FakeDepthwiseConv2D: (keras.layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same"), (0, 1)),
    FakeDense: (keras.layers.Dense(7, use_bias=False, activation="relu"), (0, 1)),
}


@pytest.mark.parametrize("kernels", ["channel", "tensor"])
@pytest.mark.parametrize("fake", PLAIN)
def test_a_layer_computes_as_the_plain_one_with_a_rounded_kernel(fake: Any, kernels: str) -> None:
    plain, axes = PLAIN[fake]
    photos = np.random.default_rng(1).normal(size=(2, 9, 9, 4)).astype(np.float32)
    plain(photos)
    random = np.random.default_rng(2)
    weights = [random.normal(size=weight.shape).astype(np.float32) for weight in plain.weights]
    layer = fake.from_config(plain.get_config() | {"kernels": kernels})
    layer(photos)
    layer.set_weights(weights)
    over = axes if kernels == "channel" else tuple(range(len(weights[0].shape)))
    plain.set_weights([rounded(weights[0], over), *weights[1:]])
    np.testing.assert_allclose(np.asarray(layer(photos)), np.asarray(plain(photos)), atol=1e-5)
    again = fake.from_config(layer.get_config())
    assert (again.kernels, again.name) == (kernels, plain.name)


def test_swish_holds_its_sigmoid_in_steps_of_a_256th() -> None:
    """sigmoid(1) = 0.7311 = 187.15 / 256; beyond 255 / 256 it is cut."""
    found = np.asarray(FakeSwish()(np.float32([0.0, 1.0, 20.0])))
    np.testing.assert_allclose(found, [0.0, 187 / 256, 20 * 255 / 256], rtol=1e-6)


def test_a_range_is_made_again_from_its_config() -> None:
    layer = FakeRange(-1.0, 2.0, "moving", places=3, pace=4.0, momentum=0.5, name="r")
    again = FakeRange.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.range_low.shape == (3,)
