"""Residual blocks: found in any graph, what each weighs worked by hand, and why some may not go."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of
from featherlite.models.heads import HeadOrder, build_head
from featherlite.models.surgery.blocks import residual_blocks, touched, without_blocks
from featherlite.models.weights import build_backbone

layers = keras.layers


def network_of(name: str, px: int = 64) -> Any:
    backbone = build_backbone(Order(card_of(name), px, px), weights="none")
    return keras.Model(backbone.inputs[0], build_head(backbone.output, 3), name=name)


def shallow() -> Any:
    """24x24 photos, a stem to 12x12 of 8 channels, then a depthwise block and one that widens to 16."""
    keras.utils.set_random_seed(4)
    photo = keras.Input((24, 24, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(photo)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="a_mix")(x)
    x = layers.Add(name="a_sum")([y, x])
    y = layers.Conv2D(16, 1, use_bias=False, name="b_widen")(x)
    y = layers.BatchNormalization(name="b_norm")(y)
    y = layers.ReLU(name="b_relu")(y)
    y = layers.Conv2D(8, 1, use_bias=False, name="b_narrow")(y)
    x = layers.Add(name="b_sum")([x, y])
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="shallow")


def test_a_block_says_what_goes_with_it() -> None:
    first, second = residual_blocks(shallow())
    assert (first.sum, first.shortcut, first.port, first.branch) == ("a_sum", "stem", 1, ("a_mix",))
    assert (first.parameters, first.macs, first.why_not) == (9 * 8, 9 * 8 * 144, "")
    assert (second.shortcut, second.port) == ("a_sum", 0)
    assert second.branch == ("b_widen", "b_norm", "b_relu", "b_narrow")
    assert (second.parameters, second.macs) == (8 * 16 + 4 * 16 + 16 * 8, 2 * 8 * 16 * 144)


def test_what_is_left_answers_as_if_it_had_never_been_there() -> None:
    network = shallow()
    first, second = residual_blocks(network)
    photos = np.random.default_rng(1).uniform(-1, 1, (3, 24, 24, 3)).astype(np.float32)
    x = network.get_layer("stem")(photos)
    for blocks, map_ in (([second], x + network.get_layer("a_mix")(x)), ([first, second], x)):
        left = without_blocks(network, blocks)
        wanted = network.get_layer("head_logits")(network.get_layer("head_pool")(map_))
        np.testing.assert_allclose(left.predict_on_batch(photos), wanted, rtol=1e-5, atol=1e-6)
        assert left.count_params() == network.count_params() - sum(block.parameters for block in blocks)
    assert len(network.layers) == 11, "the network that came is left as it is"


def test_what_a_cut_touches_lies_on_both_sides_of_it() -> None:
    network = shallow()
    first, second = residual_blocks(network)
    assert touched(network, without_blocks(network, [first])) == {"stem", "b_widen", "b_sum"}
    assert touched(network, without_blocks(network, [second])) == {"a_sum", "head_pool"}
    assert touched(network, without_blocks(network, [first, second])) == {"stem", "head_pool"}
    assert touched(network, without_blocks(network, [])) == set()


def odd() -> Any:
    """Sums that are no removable blocks, each for its own reason; and one that is, with squeeze-and-excite inside."""
    photo = keras.Input((8, 8, 3), name="photo")
    x = layers.Conv2D(4, 1, name="stem")(photo)
    y = layers.Conv2D(4, 1, name="se_conv")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="se_pool")(y)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="se_gate")(gate)
    x = layers.Add(name="whole")([x, layers.Multiply(name="se_times")([y, gate])])
    x = layers.Add(name="three")([x, layers.Conv2D(4, 1)(x), layers.Conv2D(4, 1)(x)])
    x = layers.Add(name="weightless")([x, layers.Activation("swish")(x)])
    context = layers.GlobalAveragePooling2D(keepdims=True, name="pooled")(x)
    x = layers.Add(name="spread")([context, layers.Conv2D(4, 1, name="on_spread")(layers.Multiply()([x, context]))])
    same = layers.Conv2D(4, 1, name="same")(x)
    x = layers.Add(name="projected")([layers.Conv2D(4, 1)(layers.Conv2D(4, 1)(x)), same])
    down = layers.Conv2D(8, 1, strides=2, name="down")(x)
    x = layers.Add(name="strided")([down, layers.Conv2D(8, 3, strides=2, padding="same")(x)])
    logits = build_head(x, 3, HeadOrder(pool="gem"))
    return keras.Model(photo, logits, name="odd")


def test_those_that_may_not_go_say_why() -> None:
    found = {block.sum: block for block in residual_blocks(odd())}
    assert list(found) == ["whole", "three", "weightless", "spread", "projected", "strided"], (
        "a head's sums are no blocks"
    )
    assert found["whole"].why_not == ""
    assert found["whole"].branch == ("se_conv", "se_pool", "se_gate", "se_times")
    assert found["three"].why_not == "it adds up 3 tensors"
    assert found["weightless"].why_not.startswith("nothing with weights would go")
    assert found["spread"].why_not == "its shortcut is spread over the map: the map changes from 1x1 to 8x8"
    assert found["projected"].why_not == "its shortcut passes through 'same': it has weights of its own"
    assert found["strided"].why_not == (
        "its shortcut passes through 'down': the map changes from 8x8 to 4x4 and the channels change from 4 to 8"
    )


def test_a_relu_is_not_applied_twice() -> None:
    photo = keras.Input((8, 8, 3), name="photo")
    x = layers.ReLU(name="relu0")(layers.Conv2D(4, 1, name="stem")(photo))
    for number, ceiling in ((1, None), (2, 6.0)):
        y = layers.Conv2D(4, 1, name=f"conv{number}")(x)
        x = layers.ReLU(ceiling, name=f"relu{number}")(layers.Add(name=f"sum{number}")([x, y]))
    network = keras.Model(photo, layers.GlobalAveragePooling2D(name="head_pool")(x))
    first, second = residual_blocks(network)
    assert "relu1" not in {layer.name for layer in without_blocks(network, [first]).layers}
    assert "relu2" in {layer.name for layer in without_blocks(network, [second]).layers}, "a ceiling is something else"


FOUND = {
    "feathernet": (["stage3_block1", "stage3_block2", "stage4_block2", "stage4_block3"], 0),
    "MobileNetV1": ([], 0),
    "SqueezeNet1_1": ([], 0),
    "MobileNetV2": ([f"block_{number}" for number in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)], 0),
    "MobileNetV3Small": ([f"expanded_conv_{number}" for number in (2, 4, 5, 7, 9, 10)], 0),
    "EfficientNetB0": ([f"block{name}" for name in ("2b", "3b", "4b", "4c", "5b", "5c", "6b", "6c", "6d")], 0),
    "ResNet18": ([f"layer{name}" for name in ("1_0", "1_1", "2_1", "3_1", "4_1")], 3),
    "MobileNetV4ConvSmall": ([f"blocks_{stage}_{number}" for stage in (2, 3) for number in range(1, 6)], 0),
}


SLOW = ("MobileNetV1", "MobileNetV2", "MobileNetV3Small", "MobileNetV4ConvSmall")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FOUND])
def test_the_blocks_of_published_networks(name: str) -> None:
    network, (wanted, refused) = network_of(name), FOUND[name]
    blocks = residual_blocks(network)
    able = [block for block in blocks if not block.why_not]
    assert [block.sum for block in able] == [f"{stem}_add" for stem in wanted]
    reasons = [block.why_not for block in blocks if block.why_not]
    assert len(reasons) == refused
    assert all("map changes" in reason and "channels change" in reason for reason in reasons)
    if able:
        left = without_blocks(network, able)
        assert left.count_params() == network.count_params() - sum(block.parameters for block in able)
        assert [block.sum for block in residual_blocks(left)] == [block.sum for block in blocks if block.why_not]
        assert left.output_shape == network.output_shape


@pytest.mark.slow
def test_the_blocks_of_a_convnext() -> None:
    blocks = residual_blocks(network_of("ConvNeXtTiny", 32))
    assert len(blocks) == 3 + 3 + 9 + 3
    assert not any(block.why_not for block in blocks)
    assert all(len(block.branch) == 6 for block in blocks)
