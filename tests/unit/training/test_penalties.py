"""What the loss asks of the kernels: by hand, and in a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from featherlite.quantize.fake_quantization import FakeConv2D
from featherlite.step import Context
from featherlite.training.config import FitConfig
from featherlite.training.fit import fit
from featherlite.training.penalties import absolute_cosine, article_cosine, levelled

from .conftest import block_network, colored_photos

DENSE = (0,)


def value(kernel: Any, bits: int = 8, axes: tuple[int, ...] = DENSE) -> float:
    return float(absolute_cosine([(keras.Variable(np.float32(kernel)), axes)], bits))


def gradient(kernel: Any, bits: int = 8) -> Any:
    import tensorflow as tf

    weights = tf.Variable(np.float32(kernel))
    with tf.GradientTape() as tape:
        term = absolute_cosine([(weights, DENSE)], bits)
    return tape.gradient(term, weights).numpy()


def test_the_zeros_are_the_levels_and_nothing_else() -> None:
    """With 8 bits a channel whose largest weight is 127 has all whole numbers for levels; with 254 the even ones."""
    levels = np.arange(-127, 128, dtype=np.float32)
    assert value(levels[:, None]) == pytest.approx(0.0, abs=1e-6)
    assert value(2 * levels[:, None]) == pytest.approx(0.0, abs=1e-6)
    between = np.append(levels[:-1] + 0.5, 127.0)  # half-way, and the largest weight, which is a level by definition
    assert value(between[:, None]) == pytest.approx(254 / 255)
    for off in (0.01, 0.1, 0.5, 0.9):
        assert value([[127.0], [3 + off]]) == pytest.approx(np.sin(np.pi * off) / 2, rel=1e-3)


def test_it_is_the_absolute_cosine_with_a_quarter_turn() -> None:
    """The formula as it stands in words, with none of the care for digits: mean |cos(pi w / d - pi / 2)|."""
    kernel = np.random.default_rng(1).normal(size=(50, 4))
    step = np.abs(kernel).max(axis=0) / 127
    assert value(kernel) == pytest.approx(np.abs(np.cos(np.pi * kernel / step - np.pi / 2)).mean(), rel=1e-3)
    assert value(np.random.default_rng(2).normal(size=(5000, 4))) == pytest.approx(2 / np.pi, abs=0.01)


def test_each_channel_has_a_grid_of_its_own_and_a_dead_one_has_none() -> None:
    assert value([[127.0, 1.27, 0.0], [5.0, 0.05, 0.0]]) == pytest.approx(0.0, abs=1e-4)
    assert value([[127.0, 1.27], [5.0, 0.055]]) == pytest.approx(1 / 4, abs=1e-3)
    depthwise = np.array([127.0, 5.0, 1.27, 0.055]).reshape(2, 2).T.reshape(2, 1, 2, 1)
    assert value(depthwise, axes=(0, 1)) == pytest.approx(1 / 4, abs=1e-3)


def test_fewer_bits_have_fewer_levels() -> None:
    """Three bits: -3 .. 3 times a third of the largest."""
    assert value([[3.0], [2.0], [-1.0], [0.0]], bits=3) == pytest.approx(0.0, abs=1e-6)
    assert value([[3.0], [2.5], [-0.5], [0.0]], bits=3) == pytest.approx(0.5)


def test_the_gradient_leads_to_the_nearest_level() -> None:
    """By hand: pi / d cos(pi off) sign(off) / n; none on a level, none for the largest through the grid."""
    found = gradient([[127.0], [5.2], [5.8], [-3.2], [7.0]])[:, 0]
    steep = np.pi * np.cos(np.pi * 0.2) / 5
    np.testing.assert_allclose(found, [0, steep, -steep, -steep, 0], atol=1e-4)


def test_the_article_by_hand() -> None:
    """Neighbors along the last axis, around its end: rows (1 2 3) -> 3 + 2 + 6 = 11, (1 -1 0) -> 0 - 1 + 0 = -1."""
    dense = keras.Variable(np.float32([[1, 2, 3], [1, -1, 0]]))
    assert float(article_cosine([(dense, DENSE)], 8)) == pytest.approx((11 + 1) / 2)
    depthwise = keras.Variable(np.float32([1, -2, 3, 0]).reshape(2, 2, 1, 1))
    assert float(article_cosine([(depthwise, (0, 1))], 8)) == pytest.approx((1 + 4 + 9) / 4), "its mean square"
    both = float(article_cosine([(dense, DENSE), (depthwise, (0, 1))], 8))
    assert both == pytest.approx(6 + 3.5)
    assert float(article_cosine([(dense * 2, DENSE)], 8)) == pytest.approx(24), "no levels: it grows with the weights"


def test_what_becomes_integers_and_trains_is_meant() -> None:
    network = block_network(norm=True)
    assert [kernel.path for kernel, _ in levelled(network)] == [
        network.get_layer(name).kernel.path for name in ("a_conv", "b_conv", "c_conv", "head_logits")
    ]
    assert [axes for _, axes in levelled(network)] == [(0, 1, 2)] * 3 + [(0, 1)]
    network.get_layer("a_conv").trainable = False
    assert len(levelled(network)) == 3


def test_a_dense_kernel_has_no_grid_before_its_norm_is_folded() -> None:
    photo = keras.Input((8,))
    hidden = keras.layers.Dense(4, use_bias=False)
    normed = keras.layers.BatchNormalization()(hidden(photo))
    head = keras.layers.Dense(3, name="head_logits")
    assert [kernel.path for kernel, _ in levelled(keras.Model(photo, head(normed)))] == [head.kernel.path]


@pytest.mark.parametrize(("kernels", "axes"), [("channel", (0, 1, 2)), ("tensor", (0, 1, 2, 3))])
def test_in_training_for_int8_the_levels_are_those_of_the_artefact(kernels: str, axes: tuple[int, ...]) -> None:
    layer = FakeConv2D(4, 3, kernels=kernels, name="conv")
    photo = keras.Input((8, 8, 3))
    found = levelled(keras.Model(photo, layer(photo)))
    assert [(kernel.path, shared) for kernel, shared in found] == [(layer.kernel.path, axes)]


@pytest.mark.parametrize("kind", ["absolute", "article"])
def test_the_cosine_is_in_the_loss_by_hand(kind: str, context: Callable[..., Context]) -> None:
    """At next to no rate the loss grows by weight times the term, in the head epochs by the head's alone."""
    plain: dict[str, Any] = {"head_rate": 1e-12, "rate": 1e-12, "head_epochs": 1, "epochs": 1, "ema": "none"}
    term = {"absolute": absolute_cosine, "article": article_cosine}[kind]
    kernels = levelled(block_network())
    expected = [0.5 * float(term(some, 8)) for some in (kernels[-1:], kernels)]
    keys = ({}, {"cosine": kind, "cosine_weight": 0.5})
    curves = [
        fit(block_network(), colored_photos(12, 1), None, FitConfig(**plain, batch=12, **one), context()).curve
        for one in keys
    ]
    extra = [with_it["loss"] - without["loss"] for without, with_it in zip(*curves, strict=True)]
    assert extra == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert min(expected) > 1e-3


def test_training_brings_the_weights_to_their_levels(context: Callable[..., Context]) -> None:
    """With few levels, so that the way is short: most of the distance is gone, and l2 may stand beside it."""
    network = block_network()
    before = float(absolute_cosine(levelled(network), 3))
    keys: dict[str, Any] = {"cosine": "absolute", "cosine_weight": 1000.0, "cosine_bits": 3, "clip_norm": 0}
    config = FitConfig(head_epochs=0, epochs=40, batch=12, rate=0.005, ema="none", augment=0, l2=1e-6, **keys)
    fit(network, colored_photos(24, 1), None, config, context())
    assert float(absolute_cosine(levelled(network), 3)) < 0.2 * before
