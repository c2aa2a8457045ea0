"""A deeper network answers as before, in every kind of graph."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of
from featherlite.models.heads import HeadOrder, build_head
from featherlite.models.network import network_bytes, network_from
from featherlite.models.surgery.deepen import deepened
from featherlite.models.weights import build_backbone

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "width", "blocks"),
    [
        ("feathernet", 0.25, ["stage3_block1_expand_conv", "stage4_block3_expand_conv"]),
        pytest.param("MobileNetV1", 0.25, ["conv1_relu_dw", "conv_pw_11_relu_dw"], marks=SLOW),
        pytest.param("MobileNetV2", 0.35, ["block_2_expand", "block_15_expand"], marks=SLOW),
        pytest.param("MobileNetV3Small", 1.0, ["expanded_conv_2_expand", "expanded_conv_10_expand"], marks=SLOW),
        pytest.param("EfficientNetB0", 1.0, ["block2b_expand_conv", "block6d_expand_conv"], marks=SLOW),
        pytest.param("ResNet18", 1.0, ["layer1_0_conv1", "layer4_1_conv1"], marks=SLOW),
        pytest.param("MobileNetV4ConvSmall", 1.0, ["blocks_2_1_pw_exp_conv", "blocks_3_5_pw_exp_conv"], marks=SLOW),
        pytest.param(
            "ConvNeXtTiny",
            1.0,
            [f"convnext_tiny_stage_{place}_depthwise_conv" for place in ("0_block_0", "3_block_2")],
            marks=SLOW,
        ),
        pytest.param("SqueezeNet1_1", 1.0, ["conv1_relu_dw", "fire5_concat_dw"], marks=SLOW),
    ],
)
def test_a_deeper_network_answers_alike(name: str, width: float, blocks: list[str]) -> None:
    """Two blocks: behind the first and the last place; one step of training and they take part."""
    keras.utils.set_random_seed(2)
    backbone = build_backbone(Order(card_of(name), 32, 32, width))
    network = keras.Model(backbone.input, build_head(backbone.output, 3, HeadOrder()), name=name)
    photos = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    deeper, added = deepened(network, 2, seed=1)
    assert {f"{block}_again1" for block in blocks} <= set(added)
    again = network_from(network_bytes(deeper))
    before = np.asarray(network(photos, training=False))
    np.testing.assert_allclose(np.asarray(again(photos, training=False)), before, atol=1e-5)
    first = {layer.name: [weight.copy() for weight in layer.get_weights()] for layer in deeper.layers}
    deeper.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True), run_eagerly=True)
    deeper.train_on_batch(photos, np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])
    idle = [layer for layer in added if not first[layer][0].any()]
    assert len(idle) == 2, "the last of each branch"
    assert all((deeper.get_layer(layer).get_weights()[0] != 0).any() for layer in idle)


def test_the_same_seed_gives_the_same_network() -> None:
    keras.utils.set_random_seed(2)
    photo = keras.Input((8, 8, 3), name="photo")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="stem")(photo)
    x = keras.layers.Dense(3, name="head_logits")(keras.layers.GlobalAveragePooling2D(name="head_pool")(x))
    network = keras.Model(photo, x, name="plain")
    one, same, other = (network_bytes(deepened(network, 1, seed)[0]) for seed in (1, 1, 2))
    assert one == same != other
