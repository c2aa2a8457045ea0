"""Squeeze-and-excitation blocks: found in every form, measured, and taken out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from featherlite.models.backbones import Order, card_of
from featherlite.models.surgery.squeeze_excite import find_squeeze_excite, mean_gates, remove_squeeze_excite
from featherlite.models.weights import build_backbone
from featherlite.preprocess import network_input

layers = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)


def network(form: str = "keepdims", behind: str = "conv") -> Any:
    """A convolution whose map is weighed by its own mean, and what follows it."""
    keras.utils.set_random_seed(1)
    photo = keras.Input((6, 6, 3), name="photo")
    x = layers.Conv2D(4, 1, activation="relu", name="map")(photo)
    pool = layers.GlobalAveragePooling2D(keepdims=form != "reshape", name="pool")
    y = ops.mean(x, axis=(1, 2), keepdims=True) if form == "mean" else pool(x)
    if form == "reshape":
        y = layers.Reshape((1, 1, 4), name="reshape")(y)
    y = layers.Conv2D(2, 1, activation="swish", name="squeeze")(y)
    y = layers.Conv2D(4, 1, name="excite", activation="sigmoid" if form == "reshape" else None)(y)
    if form != "reshape":
        y = layers.ReLU(6.0)(y + 3.0) * (1 / 6) if form == "mean" else layers.Activation("sigmoid", name="gate")(y)
    x = layers.Multiply(name="product")([y, x] if form == "mean" else [x, y])
    if behind == "conv":
        x = layers.Conv2D(3, 3, padding="same", name="project")(x)
    elif behind == "depthwise":
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="project")(x)
    else:
        x = layers.ReLU(name="project")(x)
    return keras.Model(photo, x, name="net")


@pytest.mark.parametrize(
    ("form", "gate", "kind"),
    [("keepdims", "gate", "sigmoid"), ("reshape", "excite", "sigmoid"), ("mean", None, "hard_sigmoid")],
)
def test_it_is_found_in_every_form(form: str, gate: str | None, kind: str) -> None:
    made = network(form)
    (block,) = find_squeeze_excite(made)
    assert block.product == "product"
    assert block.place == (form == "mean")
    assert block.site is not None
    assert block.site.kind == kind
    assert block.gate == (gate or block.site.name)
    assert {"product", "squeeze", "excite"} <= set(block.operations)
    assert not {"map", "project"} & set(block.operations)
    without = remove_squeeze_excite(made, [block], {})
    assert [operation.name for operation in without.operations] == ["photo", "map", "project"]


@pytest.mark.parametrize("behind", ["conv", "depthwise"])
def test_the_mean_gate_goes_into_what_follows(behind: str) -> None:
    made = network(behind=behind)
    gates = keras.Model(made.inputs[0], made.get_layer("gate").output)
    (block,) = find_squeeze_excite(made)
    gains = mean_gates(made, [block], IMAGES)
    expected = np.asarray(gates(network_input(IMAGES)))[:, 0, 0].mean(axis=0)
    np.testing.assert_allclose(gains["product"], expected, rtol=1e-5)
    without = remove_squeeze_excite(made, [block], gains)
    front = keras.Model(made.inputs[0], made.get_layer("map").output)
    wanted = made.get_layer("project")(np.asarray(front(network_input(IMAGES))) * expected)
    np.testing.assert_allclose(np.asarray(without(network_input(IMAGES))), np.asarray(wanted), rtol=1e-4, atol=1e-5)


def test_without_a_layer_that_takes_it_up_it_just_goes() -> None:
    made = network(behind="relu")
    blocks = find_squeeze_excite(made)
    without = remove_squeeze_excite(made, blocks, mean_gates(made, blocks, IMAGES))
    front = keras.Model(made.inputs[0], made.get_layer("map").output)
    photos = network_input(IMAGES)
    np.testing.assert_allclose(np.asarray(without(photos)), np.asarray(front(photos)), rtol=1e-5)


def test_other_products_are_none() -> None:
    """Spatial attention weighs places; a gate made from another map is no excitation of this one."""
    photo = keras.Input((6, 6, 3), name="photo")
    x, z = layers.Conv2D(4, 1)(photo), layers.Conv2D(4, 1)(photo)
    x = layers.Multiply()([x, layers.Conv2D(1, 1, activation="sigmoid")(x)])
    x = layers.Multiply()(
        [x, layers.Conv2D(4, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(z))]
    )
    assert find_squeeze_excite(keras.Model(photo, x * x)) == ()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("EfficientNetB0", 16), ("MobileNetV3Small", 9)])
def test_backbones(name: str, count: int) -> None:
    made = build_backbone(Order(card_of(name), 32, 32), weights="none", after="")
    blocks = find_squeeze_excite(made)
    assert len(blocks) == count
    assert all(block.site is not None for block in blocks)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    without = remove_squeeze_excite(made, blocks, mean_gates(made, blocks, photos))
    assert find_squeeze_excite(without) == ()
    assert without.output_shape == made.output_shape
