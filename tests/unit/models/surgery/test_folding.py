"""Maps folded into the layers beside them: the same answers, fewer layers, and what stays is named."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of
from featherlite.models.surgery.folding import fold_batchnorm, fold_constants, unfolded_batchnorm
from featherlite.models.weights import build_backbone

layers = keras.layers
PHOTO = np.random.default_rng(0).uniform(-1, 1, (3, 9, 9, 3)).astype(np.float32)


def drawn(network: Any, seed: int = 1) -> Any:
    """The network with BatchNorms that do something: statistics, gains and shifts drawn by seed."""
    random = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            drawn = [random.uniform(0.5, 2, np.shape(weight)) for weight in layer.get_weights()]
            layer.set_weights(drawn)
    return network


def of(make: Any, shape: tuple[int, ...] = (9, 9, 3)) -> Any:
    keras.utils.set_random_seed(2)
    photo = keras.Input(shape, name="photo")
    return drawn(keras.Model(photo, make(photo), name="net"))


def norms(network: Any) -> list[str]:
    return [layer.name for layer in network.layers if isinstance(layer, layers.BatchNormalization)]


def close(one: Any, other: Any, photo: Any = PHOTO) -> None:
    np.testing.assert_allclose(np.asarray(one(photo)), np.asarray(other(photo)), rtol=1e-4, atol=1e-4)


def test_a_hand_worked_fold() -> None:
    """gain = 3 / sqrt(3 + 1) = 1.5; kernel 2 -> 3; bias 10 -> 1.5 (10 - 4) + 5 = 14."""

    def make(x: Any) -> Any:
        return layers.BatchNormalization(epsilon=1.0, name="norm")(layers.Dense(1, name="dense")(x))

    network = of(make, (1,))
    network.get_layer("dense").set_weights([np.full((1, 1), 2.0), np.full(1, 10.0)])
    network.get_layer("norm").set_weights([np.array([value]) for value in (3.0, 5.0, 4.0, 3.0)])
    folded = fold_batchnorm(network)
    assert [layer.name for layer in folded.layers] == ["photo", "dense"]
    kernel, bias = folded.get_layer("dense").get_weights()
    assert (kernel.item(), bias.item()) == (3.0, 14.0)
    assert network.get_layer("dense").get_weights()[1].item() == 10.0, "the network that came is left as it is"


@pytest.mark.parametrize(
    "before",
    [
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="it"),
        layers.Conv2D(6, 3, groups=3, strides=2, name="it"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False, name="it"),
        layers.Dense(5, name="it"),
    ],
    ids=["conv", "grouped", "depthwise", "dense"],
)
def test_a_batchnorm_goes_into_the_layer_before(before: Any) -> None:
    layer = type(before).from_config(before.get_config())
    network = of(lambda x: layers.ReLU()(layers.BatchNormalization(name="norm")(layer(x))))
    folded = fold_batchnorm(network)
    assert not norms(folded)
    assert not unfolded_batchnorm(network)
    assert folded.get_layer("it").use_bias
    close(network, folded)


@pytest.mark.parametrize(
    "behind",
    [
        layers.Conv2D(4, 3, padding="valid", use_bias=False, activation="relu", name="it"),
        layers.Conv2D(6, 1, groups=3, strides=2, padding="same", name="it"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="it"),
        layers.Dense(5, name="it"),
    ],
    ids=["conv", "grouped", "depthwise", "dense"],
)
def test_a_batchnorm_goes_into_the_layer_behind(behind: Any) -> None:
    layer = type(behind).from_config(behind.get_config())
    network = of(lambda x: layer(layers.BatchNormalization(name="norm")(layers.ReLU()(x))))
    folded = fold_batchnorm(network)
    assert not norms(folded)
    close(network, folded)


def test_it_goes_into_all_that_follow_and_across_pooling() -> None:
    def make(x: Any) -> Any:
        x = layers.BatchNormalization(name="norm")(layers.ReLU()(x))
        pooled = layers.Dense(4, name="b")(layers.GlobalAveragePooling2D()(x))
        return layers.Add()([layers.GlobalMaxPooling2D()(layers.Conv2D(4, 1, name="a")(x)), pooled])

    network = of(make)
    folded = fold_batchnorm(network)
    assert not norms(folded)
    close(network, folded)


def test_a_chain_folds_in_both_directions() -> None:
    def make(x: Any) -> Any:
        x = layers.BatchNormalization(name="first")(x)
        x = layers.BatchNormalization(name="second")(x)
        x = layers.Conv2D(4, 3, use_bias=False, name="conv")(x)
        return layers.BatchNormalization(name="last")(layers.BatchNormalization(name="third", scale=False)(x))

    network = of(make)
    folded = fold_batchnorm(network)
    assert [layer.name for layer in folded.layers] == ["photo", "conv"]
    close(network, folded)


def test_what_cannot_be_folded_stays_and_says_why() -> None:
    def make(x: Any) -> Any:
        shared = layers.Conv2D(3, 1, name="shared")(x)
        padded = layers.BatchNormalization(name="padded")(layers.ReLU(name="relu")(shared))
        x = layers.Conv2D(3, 3, padding="same", name="conv", activation="relu")(padded)
        x = layers.BatchNormalization(name="activated")(x)
        return layers.Add(name="sum")([layers.BatchNormalization(name="torn")(shared), x])

    network = of(make)
    why = unfolded_batchnorm(network)
    assert why["padded"] == "it follows 'relu' (ReLU), and 'conv' behind it sees padding"
    assert why["activated"] == "'conv' before it ends in its activation (relu), and 'sum' (Add) follows it"
    assert why["torn"] == "'shared' before it feeds other layers too, and 'sum' (Add) follows it"
    folded = fold_batchnorm(network)
    assert set(norms(folded)) == set(why)
    close(network, folded)


def test_a_mere_gain_passes_padding() -> None:
    """Zeros stay zeros under a factor: only the shift makes padding another gray."""

    def make(x: Any) -> Any:
        x = layers.BatchNormalization(name="norm", center=False)(layers.ReLU()(x))
        return layers.Conv2D(3, 3, padding="same", name="conv")(x)

    network = of(make)
    gamma, _, variance = network.get_layer("norm").get_weights()
    network.get_layer("norm").set_weights([gamma, np.zeros(3), variance])
    folded = fold_batchnorm(network)
    assert not norms(folded)
    close(network, folded)


def test_constants_fold_too() -> None:
    def make(x: Any) -> Any:
        x = layers.Rescaling(1 / 6, offset=-0.5)(layers.Conv2D(4, 3, name="conv")(x))
        x = 2.0 - (3.0 * (x + 1.0)) / 4.0
        x = layers.ReLU(name="relu")(x)
        return layers.Dense(2, name="dense")(x * 0.5 - 1.0)

    network = of(make)
    folded = fold_constants(network)
    assert [operation.name for operation in folded.operations] == ["photo", "conv", "relu", "dense"]
    close(network, folded)
    assert len(fold_batchnorm(network).operations) == len(network.operations)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("MobileNetV2", "EfficientNetB0", "MobileNetV3Small")]


@pytest.mark.parametrize("name", ["feathernet", "ResNet18", *SLOW])
def test_backbones_fold_in_full(name: str) -> None:
    network = drawn(build_backbone(Order(card_of(name), 32, 32), weights="none", after=""))
    photo = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    folded = fold_batchnorm(network)
    assert not unfolded_batchnorm(network)
    assert [o.name for o in folded.operations] == [o.name for o in network.operations if o.name not in norms(network)]
    expected, got = (np.asarray(one(photo)) for one in (network, folded))
    assert np.abs(expected - got).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_kernel_that_training_holds_to_something_takes_up_nothing(where: str) -> None:
    """Columns of length one (a cosine head's) would be no longer, and the next step of training would undo it."""

    def make(x: Any) -> Any:
        held = layers.Dense(4, use_bias=False, kernel_constraint="unit_norm", name="held")
        scale = layers.Rescaling(16.0, name="scale")
        return held(scale(layers.ReLU(name="relu")(x))) if where == "behind" else scale(held(x))

    network = of(make)
    folded = fold_constants(network)
    assert "scale" in [layer.name for layer in folded.layers]
    close(network, folded)
