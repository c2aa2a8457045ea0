"""Where a network is cut for the head phase, and that features change nothing but the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.heads import HeadOrder, build_head
from featherlite.preprocess import network_input
from featherlite.step import Context
from featherlite.training.features import split_network
from featherlite.training.fit import FitConfig, fit
from featherlite.training.predict import score

from .conftest import PX, colored_photos, tiny_network


def branched_head() -> Any:
    """Attention over the feature map: the head begins twice at the same tensor."""
    inputs = keras.Input((PX, PX, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, name="conv")(inputs)
    mask = keras.layers.Conv2D(1, 1, activation="sigmoid", name="head_mask")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(keras.layers.Multiply(name="head_multiply")([x, mask]))
    return keras.Model(inputs, keras.layers.Dense(3, name="head_logits")(x))


@pytest.mark.parametrize(("make", "shape"), [(tiny_network, (None, 8)), (branched_head, (None, 4, 4, 4))])
def test_features_and_head_are_the_network(make: Any, shape: tuple[Any, ...]) -> None:
    """Pooling has nothing to learn and goes to the backbone's side: small features; the network is left alone."""
    network, photos = make(), colored_photos(70, 1)
    config = network.get_config()
    split = split_network(network)
    assert split is not None
    assert split.backbone.output_shape == shape
    features = split.features(photos.images)
    assert features.shape == (70, *shape[1:])
    assert split.feature_bytes(70) == features.nbytes
    expected = np.asarray(network(network_input(photos.images)))
    np.testing.assert_allclose(np.asarray(split.head(features)), expected, atol=1e-5)
    assert network.get_config() == config


def test_the_heads_weights_go_back_to_the_network() -> None:
    network = tiny_network()
    split = split_network(network)
    assert split is not None
    split.head.get_layer("head_logits").bias.assign([1.0, 2.0, 3.0])
    assert network.get_layer("head_logits").bias.numpy().tolist() == [0, 0, 0]
    split.store()
    assert network.get_layer("head_logits").bias.numpy().tolist() == [1, 2, 3]


def test_a_head_that_looks_past_the_cut_is_not_split() -> None:
    inputs = keras.Input((PX, PX, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    first = keras.layers.Dense(4, name="head_first")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    second = keras.layers.Dense(4, name="head_second")(keras.layers.Flatten(name="flat")(x))
    both = keras.layers.Concatenate(name="head_both")([first, second])
    assert split_network(keras.Model(inputs, keras.layers.Dense(3, name="head_logits")(both))) is None


@pytest.mark.parametrize("order", [HeadOrder("dense", head_units=(16,)), HeadOrder(attention="spatial")], ids=str)
def test_a_head_with_norms_learns_the_same_from_features_as_from_photos(
    order: HeadOrder, context: Callable[..., Context]
) -> None:
    """The norms' statistics are estimated anew for the averaged weights: where the answers are judged, and kept."""
    order = replace(order, dropout=0.0, head_dropout=0.0 if order.head == "dense" else order.head_dropout)
    train, val = colored_photos(60, 1), colored_photos(60, 2, "val")
    curves = []
    for seed, augment in enumerate((False, True)):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((PX, PX, 3))
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(inputs)
        network = keras.Model(inputs, build_head(x, 3, order))
        config = FitConfig(head_epochs=3, epochs=0, batch=16, augment=0, head_augment=augment)
        ctx = replace(context(), resume=context().resume / str(seed))
        result = fit(network, train, val, config, ctx)
        top1, loss = score(np.asarray(network(network_input(val.images))), val.labels)
        assert (top1, loss) == (result.val_top1, pytest.approx(result.val_loss, rel=1e-4))
        curves.append([(entry["loss"], entry["val_loss"]) for entry in result.curve])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)


def test_a_head_on_augmented_photos_sees_other_photos_each_epoch(context: Callable[..., Context]) -> None:
    """With a rate of nearly 0 nothing is learned: the loss changes by what is seen alone."""
    photos = colored_photos(24, 1)
    losses = {}
    for augment in (False, True):
        keras.utils.set_random_seed(3)
        config = FitConfig(head_epochs=3, epochs=0, batch=8, head_rate=1e-9, head_augment=augment, label_smoothing=0)
        ctx = replace(context(), resume=context().resume / str(augment))
        losses[augment] = [entry["loss"] for entry in fit(tiny_network(dropout=0.0), photos, None, config, ctx).curve]
    assert np.ptp(losses[False]) < 1e-5
    assert np.ptp(losses[True]) > 1e-3
    assert abs(losses[True][0] - losses[False][0]) > 1e-3
