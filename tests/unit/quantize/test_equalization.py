"""Cross-layer equalization: factors by hand, and the same answers behind ReLU, ReLU6 and none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featherlite.models.logits import network_logits
from featherlite.quantize.equalization import equalize, pairs

keras = pytest.importorskip("keras")

PHOTOS = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)


def chain(activation: str, scales: tuple[float, ...] = (1.0, 4.0, 0.02, 1.0)) -> Any:
    """A convolution whose channels differ by `scales`, a depthwise one, one more and the logits."""
    layers = keras.layers
    keras.utils.set_random_seed(2)
    photo = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, bias_initializer="random_normal", name="first")(photo)
    x = layers.Activation(activation, name="first_act")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation=activation, name="depthwise")(x)
    x = layers.Conv2D(6, 1, name="last")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    made = keras.Model(photo, layers.Dense(2, name="logits")(x))
    first = made.get_layer("first")
    first.kernel.assign(np.asarray(first.kernel) * np.asarray(scales))
    return made


def test_what_a_positive_factor_passes_is_a_pair() -> None:
    assert [(pair.first, pair.second, pair.clipped) for pair in pairs(chain("relu6"))] == [
        ("first", "depthwise", True),
        ("depthwise", "last", True),
        ("last", "logits", False),
    ]
    assert [pair.end for pair in pairs(chain("relu"))] == ["first_act", "depthwise", "last"]
    assert [pair.first for pair in pairs(chain("swish"))] == ["last"]
    given = [(pair.first, pair.clipped) for pair in pairs(chain(keras.layers.ReLU(6.0)))]
    assert given == [("first", True), ("depthwise", True), ("last", False)], "a layer as an activation"
    assert [pair.first for pair in pairs(chain(keras.layers.ELU(0.5)))] == ["last"]


def test_layers_that_feed_a_shortcut_are_none() -> None:
    photo = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="first")(photo)
    y = keras.layers.Conv2D(4, 1, name="branch")(x)
    made = keras.Model(photo, keras.layers.Add()([x, y]))
    assert pairs(made) == ()
    assert equalize(made, PHOTOS) == 0


def test_all_photos_say_how_far_a_channel_reaches() -> None:
    """200 dark photos, then the bright ones of another class: what only those drive to the six stays."""
    made = chain("relu6")
    photos = np.concatenate([np.full((200, 8, 8, 3), 128, np.uint8), PHOTOS])
    before = network_logits(made, photos)
    equalize(made, photos)
    np.testing.assert_allclose(network_logits(made, photos), before, atol=2e-5)


@pytest.mark.parametrize("activation", ["relu", "relu6", "linear"])
def test_the_answers_stay_and_the_weights_are_balanced(activation: str) -> None:
    made = chain(activation)
    before = network_logits(made, PHOTOS)
    reach = taps(made).predict((PHOTOS.astype(np.float32) - 128) / 128, verbose=0)
    spread = unevenness(made)
    assert equalize(made, PHOTOS) == 3
    np.testing.assert_allclose(network_logits(made, PHOTOS), before, atol=2e-5)
    assert unevenness(made) < 0.85 * spread
    after = taps(made).predict((PHOTOS.astype(np.float32) - 128) / 128, verbose=0)
    for one, other in zip(reach, after, strict=True):
        assert np.abs(other).max() <= np.abs(one).max() * (1 + 1e-5), "no range of an activation grows"


def test_a_factor_by_hand() -> None:
    """r1 = 8 and 0.5 against r2 = 2 and 2: s = 2 and 1/2; the second may go down to 0.5 / 8, the share of its reach."""
    photo = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 1, activation="relu", use_bias=False, name="first")(photo)
    made = keras.Model(photo, keras.layers.Conv2D(1, 1, use_bias=False, name="second")(x))
    made.get_layer("first").set_weights([np.where(np.arange(3)[:, None] == 0, [8.0, 0.5], 0.0)[None, None]])
    made.get_layer("second").set_weights([np.full((1, 1, 2, 1), 2.0)])
    equalize(made, PHOTOS)
    np.testing.assert_allclose(np.asarray(made.get_layer("first").kernel)[0, 0, 0], [4.0, 1.0], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(made.get_layer("second").kernel).ravel(), [4.0, 1.0], rtol=1e-3)


def test_a_channel_at_the_six_stays() -> None:
    made = chain("relu6", (1.0, 40.0, 0.02, 1.0))
    before = np.asarray(made.get_layer("first").kernel).copy()
    answers = network_logits(made, PHOTOS)
    equalize(made, PHOTOS)
    after = np.asarray(made.get_layer("first").kernel)
    np.testing.assert_array_equal(after[..., 1], before[..., 1])
    assert (after[..., 2] != before[..., 2]).any()
    np.testing.assert_allclose(network_logits(made, PHOTOS), answers, atol=2e-5)


def taps(made: Any) -> Any:
    return keras.Model(made.inputs[0], [made.get_layer(name).output for name in ("first_act", "depthwise", "last")])


def unevenness(made: Any) -> float:
    """How far the largest weight of a channel lies above that of another, over all kernels, as a logarithm."""
    kernels = [np.abs(np.asarray(made.get_layer(name).kernel)) for name in ("first", "depthwise")]
    tops = [kernels[0].max(axis=(0, 1, 2)), kernels[1].max(axis=(0, 1, 3))]
    return float(sum(np.ptp(np.log(top)) for top in tops))
