"""A network in stretches: nothing is lost between them, and each is a network of its own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of
from featherlite.models.surgery.stretches import joined, network_of, stretches
from featherlite.models.weights import build_backbone

layers = keras.layers


def residual() -> Any:
    keras.utils.set_random_seed(3)
    photo = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU(name="stem_relu")(layers.Conv2D(4, 3, padding="same", name="stem")(photo))
    for name in "ab":
        y = layers.Conv2D(8, 1, activation="relu", name=f"{name}_wide")(x)
        y = layers.BatchNormalization(name=f"{name}_bn")(layers.Conv2D(4, 1, name=f"{name}_narrow")(y))
        x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.ReLU(name="last")(layers.Conv2D(8, 1, name="top")(x))
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="residual")


def test_they_end_where_a_layer_can_make_up_for_the_activation() -> None:
    found = stretches(residual())
    assert [(one.start, one.end) for one in found] == [
        (None, "a_add"),
        ("a_add", "b_add"),
        ("b_add", "last"),
        ("last", "head_logits"),
    ]
    assert found[0].operations == ("stem", "stem_relu", "a_wide", "a_narrow", "a_bn", "a_add")


def test_a_chain_of_activations_ends_at_each() -> None:
    photo = x = keras.Input((8, 8, 3), name="photo")
    for number in range(3):
        x = layers.ReLU(name=f"r{number}")(layers.Conv2D(2, 1, name=f"c{number}")(x))
    network = keras.Model(photo, layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x)))
    assert [one.end for one in stretches(network)] == ["r0", "r1", "r2", "out"]


def test_run_one_after_the_other_they_are_the_network() -> None:
    network = residual()
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    found = stretches(network)
    x: Any = photos
    for part in (found[0], joined(found[1:3]), found[3]):
        x = network_of(network, part)(x)
    np.testing.assert_allclose(np.asarray(x), np.asarray(network(photos)), rtol=1e-5, atol=1e-6)
    part = network_of(network, found[1])
    part.get_layer("b_wide").set_weights([0 * weight for weight in part.get_layer("b_wide").get_weights()])
    assert np.any(network.get_layer("b_wide").get_weights()[0]), "its weights are copies"


@pytest.mark.parametrize("name", ["feathernet", pytest.param("EfficientNetB0", marks=pytest.mark.slow)])
def test_backbones(name: str) -> None:
    network = build_backbone(Order(card_of(name), 32, 32), weights="none", after="")
    found = stretches(network)
    assert [one for part in found for one in part.operations] == [one.name for one in network.operations[1:]]
    assert len(found) == {"feathernet": 8, "EfficientNetB0": 17}[name]
