"""Activations are told by what they do, however they are written, and swapped in their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from featherlite.models.backbones import Order, card_of
from featherlite.models.heads.cosine import cosine
from featherlite.models.surgery.activations import TARGETS, ActivationSite, find_activations, swap_activations
from featherlite.models.weights import build_backbone

layers = keras.layers
PHOTO = np.random.default_rng(0).uniform(-4, 4, (2, 6, 6, 3)).astype(np.float32)

FORMS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "layer": ("swish", lambda x: layers.Activation("swish", name="act")(x)),
    "product": ("swish", lambda x: layers.Multiply(name="act")([x, layers.Activation("sigmoid")(x)])),
    "turned": ("swish", lambda x: layers.Multiply(name="act")([layers.Activation("sigmoid")(x), x])),
    "silu op": ("swish", lambda x: ops.silu(x)),
    "sigmoid op": ("swish", lambda x: x * ops.sigmoid(x)),
    "exponential": ("swish", lambda x: x / (1.0 + ops.exp(-x))),
    "mobilenet v3": ("hard_swish", lambda x: layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) * (1 / 6)])),
    "divided last": ("hard_swish", lambda x: x * ops.relu6(x + 3.0) / 6.0),
    "hard silu": ("hard_swish", lambda x: layers.Activation("hard_silu")(x)),
    "clip": ("relu6", lambda x: ops.clip(x, 0, 6)),
    "maximum": ("relu", lambda x: ops.maximum(x, 0.0)),
    "relu": ("relu", lambda x: layers.ReLU()(x)),
    "relu6": ("relu6", lambda x: layers.ReLU(6.0)(x)),
    "gelu": ("gelu", lambda x: layers.Activation("gelu")(x)),
    "gelu erf": ("gelu", lambda x: 0.5 * x * (1.0 + ops.erf(x / 2**0.5))),
    "gelu tanh": ("gelu", lambda x: ops.gelu(x, approximate=True)),
    "elu": ("elu", lambda x: layers.ELU()(x)),
    "elu of another slope": ("elu", lambda x: layers.ELU(alpha=0.3)(x)),
    "leaky": ("leaky_relu", lambda x: layers.LeakyReLU(negative_slope=0.05)(x)),
    "prelu": ("prelu", lambda x: layers.PReLU(shared_axes=(1, 2))(x)),
    "gate": ("sigmoid", lambda x: layers.Activation("sigmoid")(x)),
    "hard gate": ("hard_sigmoid", lambda x: ops.relu6(x + 3.0) * (1 / 6)),
}


def of(make: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(1)
    photo = keras.Input((6, 6, 3), name="image")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="conv")(photo))
    return keras.Model(photo, layers.Dense(2, name="out")(make(x)), name="net")


@pytest.mark.parametrize("form", FORMS)
def test_it_is_told_however_it_is_written(form: str) -> None:
    kind, make = FORMS[form]
    (site,) = find_activations(network := of(make))
    assert (site.kind, site.source) == (kind, "norm")
    swapped = swap_activations(network, [site], "relu6")
    assert [operation.name for operation in swapped.operations][1:] == ["conv", "norm", site.name, "out"]
    front = keras.Model(network.inputs[0], network.get_layer("norm").output)
    kernel, bias = network.get_layer("out").get_weights()
    expected = np.clip(np.asarray(front(PHOTO)), 0, 6) @ kernel + bias
    np.testing.assert_allclose(np.asarray(swapped(PHOTO)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_in_a_layer_and_at_the_end_of_one(target: Any) -> None:
    def make(x: Any) -> Any:
        return layers.Conv2D(3, 1, activation="gelu", name="fused")(layers.Activation("elu", name="alone")(x))

    network = of(make)
    sites = find_activations(network)
    assert sites == (ActivationSite("alone", "elu", "norm"), ActivationSite("fused", "gelu", None))
    swapped = swap_activations(network, sites, target)
    assert [site.kind for site in find_activations(swapped)] == [target, target]
    one, two = (swapped.get_layer(name) for name in ("conv", "fused"))
    for layer in (one, two):
        np.testing.assert_array_equal(layer.get_weights()[0], network.get_layer(layer.name).get_weights()[0])


def test_two_in_a_row_and_what_is_no_activation() -> None:
    """A product of two maps, a constant and a sum are none; an activation behind another is one of its own."""

    def make(x: Any) -> Any:
        x = layers.Activation("swish", name="second")(layers.ReLU(name="first")(x))
        y = layers.Conv2D(4, 1, name="other")(x)
        return layers.Rescaling(2.0)(layers.Add()([layers.Multiply()([x, y]), x]))

    assert find_activations(of(make)) == (
        ActivationSite("first", "relu", "norm"),
        ActivationSite("second", "swish", "first"),
    )


def test_what_keeps_a_length_from_zero_is_no_activation() -> None:
    """max(|x|^2, tiny) in a cosine head does to numbers what a ReLU does."""
    photo = keras.Input((6, 6, 3), name="image")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, activation="swish", name="conv")(photo))
    network = keras.Model(photo, cosine(pooled, 3, dropout=0.2, cosine_scale=16.0))
    assert "head_floor" in {operation.name for operation in network.operations}
    assert find_activations(network) == (ActivationSite("conv", "swish", None),)


def test_what_looks_at_all_channels_is_no_activation_to_swap() -> None:
    found = find_activations(of(lambda x: layers.Conv2D(4, 1, activation="softmax", name="attention")(x)))
    assert found == find_activations(of(lambda x: layers.Softmax(name="attention")(layers.Conv2D(4, 1)(x)))) == ()


def test_an_activation_of_the_photo_itself() -> None:
    photo = keras.Input((6, 6, 3), name="image")
    network = keras.Model(photo, layers.Conv2D(2, 1)(photo * ops.sigmoid(photo)))
    (site,) = find_activations(network)
    assert site.source == "image"
    swapped = swap_activations(network, [site], "relu")
    expected = np.maximum(PHOTO, 0) @ network.layers[-1].get_weights()[0][0, 0]
    np.testing.assert_allclose(np.asarray(swapped(PHOTO)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("feathernet", {"relu6": 14}),
        ("ResNet18", {"relu": 17}),
        pytest.param("EfficientNetB0", {"swish": 49, "sigmoid": 16}, marks=pytest.mark.slow),
        pytest.param("MobileNetV3Small", {"relu": 14, "hard_swish": 18, "hard_sigmoid": 9}, marks=pytest.mark.slow),
        pytest.param("ConvNeXtTiny", {"gelu": 18}, marks=pytest.mark.slow),
    ],
)
def test_backbones(name: str, counts: dict[str, int]) -> None:
    network = build_backbone(Order(card_of(name), 32, 32), weights="none", after="")
    kinds = [site.kind for site in find_activations(network)]
    assert {kind: kinds.count(kind) for kind in kinds} == counts
