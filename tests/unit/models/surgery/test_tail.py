"""The end of a network: where it may be cut off or narrowed, what is kept, and how it is fitted to what is left."""

from __future__ import annotations

import tracemalloc
from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of
from featherlite.models.heads import HeadOrder, build_head
from featherlite.models.surgery.refit import RIDGE, ROWS, fitted_places, refit, ridge
from featherlite.models.surgery.tail import (
    block_ends,
    cut_behind,
    filter_worth,
    readers,
    reshaped,
    sliced,
    tail_of,
    with_filters,
)
from featherlite.models.weights import build_backbone

from ...conftest import PX
from ...shrink.cutting import tailed

layers = keras.layers
PHOTOS = np.random.default_rng(7).integers(0, 256, (24, PX, PX, 3)).astype(np.uint8)


def answers(network: Any) -> Any:
    from featherlite.models.logits import network_logits

    return network_logits(network, PHOTOS)


# ---- where ---------------------------------------------------------------------------------------------------------


def test_the_tail_by_hand() -> None:
    network = tailed()
    tail = tail_of(network)
    assert (tail.end, tail.top, tail.chain) == ("top_relu", "top", ("top_norm", "top_relu"))
    assert tail.cuts == ("stem_relu", "a_sum", "c_sum", "b_norm")
    assert block_ends(network, tail) == ("a_sum", "c_sum"), "behind b_norm the top follows: nothing would be cut off"
    assert readers(network, "top_relu") == ("head_logits",)


@pytest.mark.parametrize(
    ("order", "read_by"),
    [
        pytest.param(HeadOrder(head="dense", head_units=(8,)), ("head_dense1",), marks=pytest.mark.slow),
        (HeadOrder(head="cosine"), ("head_logits",)),
        (HeadOrder(attention="spatial", attention_filters=4), ("head_attention_conv", "head_logits")),
    ],
)
def test_every_head_is_narrowed_and_fitted(order: HeadOrder, read_by: tuple[str, ...]) -> None:
    keras.utils.set_random_seed(5)
    backbone = build_backbone(Order(card_of("feathernet"), 32, 32, width=0.5), weights="none")
    network = keras.Model(backbone.inputs[0], build_head(backbone.output, 3, order), name="small")
    tail = tail_of(network)
    assert (tail.end, tail.top) == ("last_relu", "last_conv")
    assert readers(network, tail.end) == read_by
    photos = PHOTOS[:, :16, :16].repeat(2, axis=1).repeat(2, axis=2)
    worth = filter_worth(network, photos, "contribution")
    left = with_filters(network, np.sort(np.argsort(-worth)[:40]))
    assert left.get_layer("last_conv").filters == 40
    assert reshaped(network, left) == {"last_conv", "last_bn", *read_by}
    refit(network, left, read_by, photos, 0)
    assert np.isfinite(left.predict_on_batch(np.zeros((1, 32, 32, 3)))).all()
    if order.head == "cosine":
        columns = np.linalg.norm(left.get_layer("head_logits").get_weights()[0], axis=0)
        np.testing.assert_allclose(columns, 1.0, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "top", "last_block"),
    [
        ("EfficientNetB0", "top_conv", "block6d_add"),
        ("MobileNetV2", "Conv_1", "block_15_add"),
        ("MobileNetV3Small", "conv_1", "expanded_conv_9_add"),
        ("MobileNetV4ConvSmall", "blocks_4_0_conv", "blocks_3_4_add"),
        ("MobileNetV1", "conv_pw_13", "conv_pw_12_relu"),
        ("ResNet18", "", "layer4_0_relu"),
        ("ConvNeXtTiny", "", "add_17"),
    ],
)
def test_the_tails_of_published_networks(name: str, top: str, last_block: str) -> None:
    backbone = build_backbone(Order(card_of(name), 64, 64), weights="none")
    network = keras.Model(backbone.inputs[0], build_head(backbone.output, 3), name=name)
    tail = tail_of(network)
    assert tail.top == top
    assert last_block in block_ends(network, tail)[-2:]
    cut = cut_behind(network, block_ends(network, tail)[0], keep_top=True)
    assert cut.count_params() < network.count_params()
    assert cut.output_shape == network.output_shape
    if top:
        left = with_filters(network, np.arange(480))
        assert left.get_layer(top).filters == 480
        assert network.count_params() - left.count_params() > 0


# ---- how ----------------------------------------------------------------------------------------------------------


def test_ridge_by_hand() -> None:
    """x = 1, 2, 3 and y = 2 x: the mean of x^2 is 14/3, that of x y 28/3, so w = 28/3 / (14/3 (1 + RIDGE))."""
    x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [4.0], [6.0]])
    weights, offset = ridge(x, y, np.zeros((1, 1)), centered=False)
    assert weights[0, 0] == pytest.approx(2 / (1 + RIDGE))
    assert offset[0] == 0
    weights, offset = ridge(x, y + 5, np.full((1, 1), 2.0), centered=True)
    assert (weights[0, 0], offset[0]) == (pytest.approx(2.0), pytest.approx(5.0))
    weights, _ = ridge(np.zeros((3, 2)), y, np.full((2, 1), 7.0), centered=True)
    assert weights.tolist() == [[7.0], [7.0]], "where the photos say nothing it stays what it was"


def test_a_flattened_map_has_each_channel_several_times() -> None:
    kernel = np.arange(6.0).reshape(6, 1)  # two places of three channels
    assert sliced(kernel, 3, np.array([0, 2])).ravel().tolist() == [0, 2, 3, 5]


def test_a_linear_stretch_is_cut_out_and_made_up_for() -> None:
    network = tailed()
    cut = cut_behind(network, "c_sum", keep_top=True)
    assert {layer.name for layer in network.layers} - {layer.name for layer in cut.layers} == {"b_conv", "b_norm"}
    assert reshaped(network, cut) == {"top"}
    assert not cut.get_layer("top").get_weights()[0].any(), "to be fitted"
    assert np.abs(answers(cut) - answers(network)).max() > 1
    refit(network, cut, {"top"}, PHOTOS, 0)
    np.testing.assert_allclose(answers(cut), answers(network), atol=0.15)


def test_each_place_of_a_larger_map_is_fitted_to_the_one_it_lies_in() -> None:
    inputs = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    wanted = np.arange(2 * 2 * 2).reshape(2, 2, 2, 1)
    x, y = fitted_places(inputs, wanted, 0)
    assert np.array_equal(x, inputs.reshape(-1, 3)), "few places are all taken, in order"
    assert y.ravel().reshape(2, 4, 4)[1].tolist() == [[4, 4, 5, 5], [4, 4, 5, 5], [6, 6, 7, 7], [6, 6, 7, 7]]


def test_wanted_answers_are_never_stretched_to_the_larger_map() -> None:
    """A tail cut far forward: 512 photos' answers on 7 by 7 places would take gigabytes on 56 by 56."""
    inputs, wanted = np.broadcast_to(np.float32(1), (64, 56, 56, 4)), np.ones((64, 7, 7, 64))
    tracemalloc.start()
    x, y = fitted_places(inputs, wanted, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (x.shape, y.shape) == ((ROWS, 4), (ROWS, 64))
    assert peak < 64 * 56 * 56 * 64 * 8 / 4


@pytest.mark.parametrize(("strides", "share"), [(1, 0.1), (2, 0.9)])
def test_a_larger_kernel_is_fitted_too(strides: int, share: float) -> None:
    """A 1x1 convolution before a 3x3 one can be made up for whole; one that also halves the map only in part."""
    photo = keras.Input((PX, PX, 3), name="photo")
    keras.utils.set_random_seed(2)
    x = layers.ReLU(name="first")(layers.Conv2D(4, 1, name="entry")(photo))
    x = layers.Conv2D(5, 1, strides=strides, use_bias=False, name="mid")(x)
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="top")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="large")
    cut = cut_behind(network, "first", keep_top=True)
    assert cut.get_layer("top").output.shape == (None, PX, PX, 6)
    worst = np.abs(answers(cut) - answers(network)).mean()
    refit(network, cut, {"top"}, PHOTOS, 0)
    assert cut.get_layer("top").get_weights()[0].shape == (3, 3, 4, 6)
    assert np.abs(answers(cut) - answers(network)).mean() < share * worst


def test_filters_are_judged_by_what_they_contribute() -> None:
    network = tailed()
    worth = filter_worth(network, PHOTOS, "contribution")
    assert (worth > 0).tolist() == [True] * 3 + [False] * 13, "nobody listens to the rest"
    assert filter_worth(network, PHOTOS, "magnitude").argsort()[:8].tolist() != [*range(8)]
    assert set(filter_worth(network, PHOTOS, "magnitude").argsort()[-8:]) == set(range(8, 16))
    norm = network.get_layer("top_norm")
    norm.gamma.assign(np.where(np.arange(16) == 1, 100.0, 1.0))
    assert filter_worth(network, PHOTOS, "magnitude").argmax() == 1


def test_what_stays_answers_alike() -> None:
    network = tailed()
    left = with_filters(network, [0, 1, 2, 9])
    np.testing.assert_allclose(answers(left), answers(network), atol=1e-5)
    twins = with_filters(network, [3, 4, 5])
    assert np.abs(answers(twins) - answers(network)).max() > 1
    refit(network, twins, {"head_logits"}, PHOTOS, 0)
    np.testing.assert_allclose(answers(twins), answers(network), atol=0.2)
