"""How much a channel matters by each criterion, and which go for what they save: by hand and by differences."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from featherlite.errors import RequestError
from featherlite.models.surgery.channels import channels_of
from featherlite.models.surgery.widths import bill_of
from featherlite.preprocess import network_input
from featherlite.shrink.choosing import choose, floor_of
from featherlite.shrink.importance import by_magnitude, by_norm, by_taylor


def residual() -> Any:
    """A sum of two convolutions of four channels, each with BatchNorm, a third behind it, and a head."""
    keras.utils.set_random_seed(4)
    photo = keras.Input((6, 6, 3), name="photo")
    x = layers.BatchNormalization(name="one_bn")(layers.Conv2D(4, 1, name="one")(photo))
    y = layers.Conv2D(6, 3, activation="relu", padding="same", name="inner")(x)
    y = layers.BatchNormalization(name="two_bn")(layers.Conv2D(4, 1, name="two")(y))
    x = layers.GlobalAveragePooling2D(name="head_pool")(layers.Add(name="sum")([x, y]))
    return keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="residual")


# ---- how much a channel matters ----------------------------------------------------------------------------------


def test_magnitude_by_hand() -> None:
    network = residual()
    for name, lengths, scale, variance in (("one", [3, 0, 2, 1], [1, 1, 1, 1], 1), ("two", [2, 1, 0, 2], [2] * 4, 4)):
        kernel, bias = network.get_layer(name).get_weights()
        kernel[:] = 0
        kernel[0, 0, 0] = lengths
        network.get_layer(name).set_weights([kernel, bias])
        norm = network.get_layer(f"{name}_bn")
        norm.epsilon = 0.0
        norm.set_weights([np.array(scale, float), np.zeros(4), np.zeros(4), np.full(4, float(variance))])
    scores = by_magnitude(network, channels_of(network))
    assert set(scores) == {"one", "inner"}
    squares = np.array([3**2 + 2**2, 0 + 1, 2**2 + 0, 1 + 2**2])  # the second kernel counts times 2 / sqrt(4)
    np.testing.assert_allclose(scores["one"], np.sqrt(squares) / np.sqrt(squares).sum())
    inner = np.linalg.norm(network.get_layer("inner").get_weights()[0].reshape(-1, 6), axis=0)
    np.testing.assert_allclose(scores["inner"], inner / inner.sum(), rtol=1e-6)


def test_norm_scales_by_hand() -> None:
    network = residual()
    network.get_layer("one_bn").gamma.assign([3.0, -1.0, 0.0, 0.5])
    network.get_layer("two_bn").gamma.assign([4.0, 0.0, 0.0, 0.0])
    scores = by_norm(network, channels_of(network))
    assert set(scores) == {"one"}, "nothing scales the inner channels"
    np.testing.assert_allclose(scores["one"], np.array([5, 1, 0, 0.5]) / 6.5)


def test_taylor_is_the_change_of_the_loss() -> None:
    """Against differences: all that takes a channel in, times 1 + e and 1 - e, for each photo by itself."""
    network, random = residual(), np.random.default_rng(7)
    images = random.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
    labels = random.integers(0, 3, 40)
    channels, told = channels_of(network), list[int]()
    scores = by_taylor(network, channels, images, labels, told.append)
    assert told == [16, 16], "whole batches"

    def losses() -> Any:
        logits = np.asarray(network(network_input(images[:32])), np.float64)
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(32), labels[:32]]

    for group, users in {"one": ("inner", "head_logits"), "inner": ("two",)}.items():
        wanted = []
        for channel in range(channels.widths[group]):
            sides = []
            for factor in (1.01, 0.99):
                kept = {user: network.get_layer(user).get_weights() for user in users}
                for user, (kernel, bias) in kept.items():
                    kernel = kernel.copy()
                    kernel[..., channel, :] *= factor
                    network.get_layer(user).set_weights([kernel, bias])
                sides.append(losses())
                for user, values in kept.items():
                    network.get_layer(user).set_weights(values)
            wanted.append(np.mean(np.square((sides[0] - sides[1]) / 0.02)))
        np.testing.assert_allclose(scores[group], np.array(wanted) / np.sum(wanted), rtol=0.01, atol=1e-4)


def test_taylor_needs_photos() -> None:
    network = residual()
    with pytest.raises(RequestError, match="Without training photos"):
        by_taylor(network, channels_of(network), np.zeros((0, 6, 6, 3), np.uint8), np.zeros(0, np.int64))


# ---- what goes ---------------------------------------------------------------------------------------------------


def test_floors_by_hand() -> None:
    assert [floor_of(*of) for of in ((64, 8, 0.25), (20, 8, 0.25), (20, 8, 0.5), (6, 8, 0.25), (10, 1, 0.0))] == [
        16,
        8,
        16,
        8,
        1,
    ]


def test_the_cheapest_share_goes_first() -> None:
    network = residual()
    channels = channels_of(network)
    bill, floors = bill_of(network, channels), {"one": 2, "inner": 1}
    scores = {"one": np.array([0.4, 0.2, 0.3, 0.1]), "inner": np.array([0.3, 0.05, 0.4, 0.1, 0.05, 0.1])}

    def chosen(goal: dict[str, int], multiple: int = 1) -> dict[str, list[int]]:
        kept = choose(scores, bill, channels, floors, goal, multiple)
        return {name: rows.tolist() for name, rows in kept.items()}

    assert chosen({"channels": 10}) == {}, "there already"
    assert chosen({"channels": 9}) == {"inner": [0, 2, 3, 4, 5]}, "a twentieth: the first of two alike"
    assert chosen({"channels": 6}) == {"inner": [0, 2]}, ".1 of the .8 left before .1 of 1, seen by two kernels"
    assert chosen({"channels": 5}) == {"inner": [0, 2], "one": [0, 1, 2]}, "that before .3 of .7"
    assert chosen({"channels": 4}) == {"inner": [2], "one": [0, 1, 2]}, ".3 of .7 before twice .2 of .9"
    assert chosen({"channels": 8}, multiple=4) == {"inner": [0, 2, 3, 5]}, "as many as lead to the next multiple"
    # A channel of `one` saves 3 + 1 + 4 + 54 + 6 + 1 + 4 + 3 parameters, one of `inner` 36 + 1 + 4.
    less = {"parameters": bill.total(channels.widths)["parameters"] - 1}
    assert chosen(less) == {"inner": [0, 2, 3, 4, 5]}
    scores["inner"] = np.full(6, 1 / 6)
    assert chosen(less) == {"one": [0, 1, 2]}, "twice a tenth for 76 before a sixth for 41"
    assert chosen({"macs": 0}) == {"one": [0, 2], "inner": [5]}, "no further than the floors"
