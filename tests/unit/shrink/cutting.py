"""Networks whose parts are known by hand, and a kill: what the tests of removal and cutting share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from ..conftest import PX, color_network

layers = keras.layers
TRAINED: dict[str, Any] = {"epochs": 1, "batch": 12, "augment": 0, "ema": "none"}
"""One epoch of two batches a stage."""


@pytest.fixture(autouse=True, scope="module")
def eager() -> Iterator[None]:
    """A few steps are done sooner than they are compiled."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def three_blocks() -> Any:
    """Blocks a (does nothing), b (adds 5%; most parameters, fewer MACs than a) and c, without which all is lost.

    c writes the colors into the channels that the head reads; a stands on the 12x12 map, where activations peak.
    """
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6", name="stem")(photo)
    x = layers.Add(name="a_sum")([x, layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="a_mix")(x)])
    x = layers.AveragePooling2D(2, name="pool")(x)
    y = layers.Conv2D(16, 1, use_bias=False, activation="relu", name="b_widen")(x)
    x = layers.Add(name="b_sum")([layers.Conv2D(8, 1, use_bias=False, name="b_narrow")(y), x])
    x = layers.Add(name="c_sum")([x, layers.Conv2D(8, 1, use_bias=False, name="c_conv")(x)])
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layers.Dense(8, use_bias=False, name="head_same")(x)
    network = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="three")
    stem, bias = color_network().get_layer("stem").get_weights()
    stem[..., 3:], bias[3:] = 0.0, 0.0
    network.get_layer("stem").set_weights([stem, bias])
    network.get_layer("a_mix").set_weights([np.zeros((3, 3, 8, 1))])
    widen, narrow, copying, head = (np.zeros(shape) for shape in ((1, 1, 8, 16), (1, 1, 16, 8), (1, 1, 8, 8), (8, 3)))
    for channel in range(3):
        widen[0, 0, channel, channel], narrow[0, 0, channel, channel] = 1.0, 0.05
        copying[0, 0, channel, 3 + channel] = 1.0
        head[3 + channel, 2 - channel] = 8.0
    network.get_layer("b_widen").set_weights([widen])
    network.get_layer("b_narrow").set_weights([narrow])
    network.get_layer("c_conv").set_weights([copying])
    network.get_layer("head_same").set_weights([np.eye(8)])
    network.get_layer("head_logits").set_weights([head, np.full(3, -8.0)])
    return network


def tailed() -> Any:
    """Blocks a and c that do nothing, b that hands on, and a top of 16 filters of which the head reads three.

    Filters 3 to 5 say the same as 0 to 2, and 8 to 15 say something else loudly.
    """
    random, source = np.random.default_rng(4), color_network()
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(photo)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    for name in "ac":
        y = layers.Conv2D(8, 1, use_bias=False, kernel_initializer="zeros", name=f"{name}_conv")(x)
        x = layers.Add(name=f"{name}_sum")([x, y])
    x = layers.Conv2D(10, 1, use_bias=False, name="b_conv")(x)
    x = layers.BatchNormalization(name="b_norm")(x)
    x = layers.Conv2D(16, 1, use_bias=False, name="top")(x)
    x = layers.BatchNormalization(name="top_norm")(x)
    x = layers.ReLU(6.0, name="top_relu")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="tailed")
    hand_on, top, head = np.zeros((1, 1, 8, 10)), np.zeros((1, 1, 10, 16)), np.zeros((16, 3))
    for channel in range(3):
        hand_on[0, 0, channel, channel] = 1.0
        top[0, 0, channel, channel] = top[0, 0, channel, 3 + channel] = 1.0
        head[channel, 2 - channel] = 8.0
    top[0, 0, :3, 8:] = random.uniform(1, 2, (3, 8))
    network.get_layer("stem").set_weights(source.get_layer("stem").get_weights())
    network.get_layer("b_conv").set_weights([hand_on])
    network.get_layer("top").set_weights([top])
    network.get_layer("head_logits").set_weights([head, np.full(3, -8.0)])
    return network
