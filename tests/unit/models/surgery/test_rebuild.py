"""A graph laid anew: the same answers where nothing was changed, and exactly the change where something was."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.errors import RequestError
from featherlite.models.backbones import Order, card_of, family_of
from featherlite.models.surgery.rebuild import edges, rebuild, skip

PHOTO = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)


def residual() -> Any:
    """Two residual blocks on four channels, swish, and a head: weights drawn by seed."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    photo = keras.Input((32, 32, 3), name="photo")
    x = layers.Conv2D(4, 3, strides=4, padding="same", name="stem")(photo)
    for name in "ab":
        y = layers.Conv2D(4, 3, padding="same", name=f"{name}_conv")(x)
        y = layers.Activation("swish", name=f"{name}_swish")(y)
        x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="residual")


def test_a_layer_that_is_used_twice_is_refused() -> None:
    """A change of it would be one of both uses."""
    photo = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 1, name="shared")
    x = keras.layers.GlobalAveragePooling2D()(shared(shared(photo)))
    with pytest.raises(RequestError, match="'asked' uses the layer 'shared' more than once"):
        rebuild(keras.Model(photo, x, name="asked"))


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "ResNet18", "MobileNetV3Small", "feathernet"])
def test_without_a_change_it_answers_alike(name: str) -> None:
    network = family_of(card_of(name)).build(Order(card_of(name), 32, 32))
    again = rebuild(network)
    assert [layer.name for layer in again.layers[1:]] == [layer.name for layer in network.layers[1:]]
    np.testing.assert_array_equal(again.predict_on_batch(PHOTO), network.predict_on_batch(PHOTO))
    assert not {id(weight) for weight in again.weights} & {id(weight) for weight in network.weights}


def test_a_skipped_sum_leaves_its_branch_out() -> None:
    network = residual()
    cut = rebuild(network, {"b_add": skip(0)})
    assert {layer.name for layer in network.layers} - {layer.name for layer in cut.layers} == {
        "b_add",
        "b_conv",
        "b_swish",
    }
    wanted = keras.Model(
        network.input,
        network.get_layer("head_logits")(network.get_layer("head_pool")(network.get_layer("a_add").output)),
    )
    np.testing.assert_array_equal(cut.predict_on_batch(PHOTO), wanted.predict_on_batch(PHOTO))
    assert len(network.layers) == 10, "the network that came is left as it is"


def test_a_layer_may_be_swapped_and_given_weights() -> None:
    network = residual()
    kernel, bias = network.get_layer("head_logits").get_weights()

    def halved(layer: Any, x: Any) -> Any:
        return keras.layers.Dense(2, name=layer.name)(x)

    swapped = rebuild(
        network,
        {"a_swish": lambda layer, x: keras.layers.ReLU(6.0, name=layer.name)(x), "head_logits": halved},
        weights={"head_logits": [kernel[:, :2], bias[:2]]},
        shape=(64, 64, 3),
    )
    assert isinstance(swapped.get_layer("a_swish"), keras.layers.ReLU)
    assert (swapped.input_shape, swapped.output_shape) == ((None, 64, 64, 3), (None, 2))
    np.testing.assert_array_equal(
        swapped.get_layer("stem").get_weights()[0], network.get_layer("stem").get_weights()[0]
    )
    np.testing.assert_array_equal(swapped.get_layer("head_logits").get_weights()[0], kernel[:, :2])


def test_what_does_not_fit_is_refused() -> None:
    network = residual()
    with pytest.raises(RequestError, match="has no layer 'c_add'"):
        rebuild(network, {"c_add": skip()})
    with pytest.raises(RequestError, match="does not hold together"):
        rebuild(network, {"a_conv": lambda _layer, x: keras.layers.Conv2D(5, 3, padding="same", name="a_conv")(x)})
    with pytest.raises(RequestError, match=r"'stem' takes weights of \[\(3, 3, 3, 4\), \(4,\)\]"):
        rebuild(network, weights={"stem": [np.zeros(4)]})
    with pytest.raises(RequestError, match="no layer 'b_conv' to give weights to"):
        rebuild(network, {"b_add": skip()}, weights={"b_conv": []})


def test_edges_name_every_connection() -> None:
    named = [(source.name, target.name) for source, target in edges(residual())]
    assert ("stem", "a_conv") in named
    assert ("stem", "a_add") in named
    assert len(named) == 11


def test_the_same_change_gives_the_same_bytes() -> None:
    """Dropout too, which draws a seed for itself wherever it is built."""
    from featherlite.models.network import network_bytes

    plain = residual()
    pooled = keras.layers.Dropout(0.3, name="head_dropout")(plain.get_layer("head_pool").output)
    network = keras.Model(plain.input, plain.get_layer("head_logits")(pooled), name="residual")
    assert network_bytes(rebuild(network)) == network_bytes(rebuild(network))
