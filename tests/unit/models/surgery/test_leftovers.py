"""Layers that change no answer: found, left out, and linear ones merged where that saves."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.surgery.leftovers import drop, idle_layers, merge_linear, training_layers

layers = keras.layers
PHOTO = np.random.default_rng(0).uniform(-1, 1, (3, 9, 9, 3)).astype(np.float32)


def of(make: Any, shape: tuple[int, ...] = (9, 9, 3)) -> Any:
    keras.utils.set_random_seed(2)
    photo = keras.Input(shape, name="photo")
    return keras.Model(photo, make(photo), name="net")


def close(one: Any, other: Any, photo: Any = PHOTO) -> None:
    np.testing.assert_allclose(np.asarray(one(photo)), np.asarray(other(photo)), rtol=1e-4, atol=1e-5)


def test_what_only_training_needs() -> None:
    def make(x: Any) -> Any:
        x = layers.GaussianNoise(0.1, name="noise")(layers.RandomFlip(name="flip")(x))
        x = layers.SpatialDropout2D(0.1, name="maps")(layers.RandomCrop(9, 9, name="crop")(x))
        return layers.Dropout(0.5, name="out")(layers.ReLU(name="relu")(x))

    network = of(make)
    assert training_layers(network) == ["flip", "noise", "maps", "out"]
    assert [layer.name for layer in drop(network, training_layers(network)).layers] == ["photo", "crop", "relu"]


def test_what_does_nothing() -> None:
    def make(x: Any) -> Any:
        x = layers.Activation("linear", name="linear")(layers.Identity(name="same")(x))
        x = layers.ReLU(name="above_odd")(layers.ReLU(negative_slope=0.1, name="leaky")(x))
        x = layers.ReLU(name="again")(layers.ReLU(6.0, name="limited")(x))
        x = layers.ZeroPadding2D(0, name="nothing")(layers.MaxPooling2D(1, name="one")(x))
        x = layers.ZeroPadding2D(1, name="ring")(layers.UpSampling2D(1, name="once")(x))
        return layers.Flatten(name="flat_again")(layers.Flatten(name="flat")(x))

    network = of(make)
    found = idle_layers(network)
    assert found == ["same", "linear", "again", "one", "nothing", "once", "flat_again"]
    close(network, drop(network, found))


def test_what_was_cut_off_already_is_not_cut_again() -> None:
    def make(x: Any) -> Any:
        x = layers.ReLU(6.0, name="six_again")(layers.Conv2D(4, 1, activation="relu6", name="conv")(x))
        x = layers.Activation("relu", name="open")(layers.Activation("relu6", name="six_too")(x))
        x = layers.ReLU(4.0, name="four")(x)  # cuts what six let pass
        x = layers.ReLU(6.0, name="after_four")(x)
        x = layers.ReLU(name="leaky_next")(layers.ReLU(negative_slope=0.1, name="leaky")(x))
        return layers.ReLU(6.0, name="cuts")(layers.ReLU(name="is_open")(layers.Conv2D(4, 1, name="last")(x)))

    network = of(make)
    assert idle_layers(network) == ["six_again", "six_too", "open", "after_four"]
    close(network, drop(network, idle_layers(network)))


def test_a_hand_worked_merge() -> None:
    """(3 x + 1) 2 + 5 = 6 x + 7, for x of two numbers and a middle of three."""
    network = of(lambda x: layers.Dense(1, activation="relu", name="b")(layers.Dense(3, name="a")(x)), (2,))
    network.get_layer("a").set_weights([np.full((2, 3), 3.0), np.ones(3)])
    network.get_layer("b").set_weights([np.full((3, 1), 2.0), np.full(1, 5.0)])
    merged, gone = merge_linear(network)
    assert gone == ["b"]
    kernel, bias = merged.get_layer("a").get_weights()
    np.testing.assert_allclose(kernel, [[18.0], [18.0]])
    np.testing.assert_allclose(bias, [11.0])
    assert merged.get_layer("a").activation.__name__ == "relu"
    x = np.array([[1.0, -3.0], [2.0, 0.5]], np.float32)
    close(network, merged, x)


def test_a_convolution_takes_up_a_pointwise_one() -> None:
    def make(x: Any) -> Any:
        x = layers.Conv2D(9, 3, strides=2, padding="same", use_bias=False, name="a")(x)
        x = layers.Conv2D(4, 1, name="b")(x)
        return layers.Dense(2, name="c")(x)

    network = of(make)
    merged, gone = merge_linear(network)
    assert gone == ["b", "c"]
    assert merged.get_layer("a").kernel.shape == (3, 3, 3, 2)
    close(network, merged)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Dense(20, name="b")(layers.Dense(2, name="a")(x)),  # a bottleneck: 3*2+2 + 2*20+20 < 80
        lambda x: layers.Dense(2, name="b")(layers.Dense(9, activation="relu", name="a")(x)),
        lambda x: layers.Conv2D(2, 1, strides=2, name="b")(layers.Conv2D(9, 3, name="a")(x)),
        lambda x: layers.Conv2D(2, 3, name="b")(layers.Conv2D(9, 3, name="a")(x)),
        lambda x: layers.Concatenate()([y := layers.Dense(9, name="a")(x), layers.Dense(1, name="b")(y)]),
        lambda x: layers.Conv2D(3, 1, name="b")(layers.Conv2D(9, 3, groups=3, name="a")(x)),
    ],
    ids=["bottleneck", "activation", "stride", "kernel", "shared", "grouped"],
)
def test_what_is_not_one_in_two_stays(make: Any) -> None:
    network = of(make)
    merged, gone = merge_linear(network)
    assert gone == []
    assert [layer.name for layer in merged.layers] == [layer.name for layer in network.layers]
