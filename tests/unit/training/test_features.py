"""Where a network is cut for the head phase, and that features change nothing but the time it takes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.preprocess import network_input
from featherlite.training.features import split_network

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
