"""Groups of channels that must go together, and the graph with other channels: dead ones less, copies more."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from featherlite.errors import RequestError
from featherlite.models.backbones import Order, card_of
from featherlite.models.heads import HeadOrder, build_head
from featherlite.models.network import count_macs, count_parameters, network_bytes, network_from
from featherlite.models.surgery.channels import Channels, channels_of, reindex
from featherlite.models.surgery.widths import bill_of
from featherlite.models.weights import build_backbone

SLOW = pytest.mark.slow
GRAPHS = [
    ("feathernet", 0.25, HeadOrder()),
    ("feathernet", 0.25, HeadOrder(head="cosine")),
    pytest.param("feathernet", 0.25, HeadOrder(head="dense", head_units=(24,)), marks=SLOW),
    pytest.param("feathernet", 0.25, HeadOrder(attention="spatial", attention_filters=16), marks=SLOW),
    pytest.param("MobileNetV1", 0.25, HeadOrder(), marks=SLOW),
    pytest.param("MobileNetV2", 0.35, HeadOrder(), marks=SLOW),
    pytest.param("MobileNetV3Small", 1.0, HeadOrder(), marks=SLOW),
    pytest.param("EfficientNetB0", 1.0, HeadOrder(), marks=SLOW),
    pytest.param("ResNet18", 1.0, HeadOrder(), marks=SLOW),
    pytest.param("MobileNetV4ConvSmall", 1.0, HeadOrder(), marks=SLOW),
    pytest.param("ConvNeXtTiny", 1.0, HeadOrder(), marks=SLOW),
    pytest.param("SqueezeNet1_1", 1.0, HeadOrder(), marks=SLOW),
]


def answers(network: Any) -> Any:
    photos = np.random.default_rng(0).uniform(-1, 1, (2, *network.input_shape[1:])).astype(np.float32)
    return np.asarray(network(photos, training=False))


def drawn(network: Any) -> Any:
    """The network with BatchNorm and LayerNorm that do something."""
    random = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization | layers.LayerNormalization):
            layer.set_weights([random.uniform(0.7, 1.3, weight.shape) for weight in layer.weights])
    return network


def built(name: str, width: float, head: HeadOrder) -> Any:
    keras.utils.set_random_seed(2)
    backbone = build_backbone(Order(card_of(name), 32, 32, width))
    logits = build_head(backbone.output, 3, head)
    return drawn(keras.Model(backbone.input, logits, name=name))


def over_all(channels: Channels) -> set[str]:
    """The groups that a LayerNorm sees: one channel less changes the others' mean."""
    return {
        name for layer, layout in channels.even.items() for name in layout.groups if not layer.endswith("head_unit")
    }


def killed(network: Any, channels: Channels, dead: dict[str, Any]) -> None:
    """Makes all that makes these channels answer zero."""
    for layer in network.layers:
        if layer.name not in channels.outputs or not layer.weights:
            continue
        rows = np.concatenate(
            [dead.get(name, np.zeros(channels.widths[name], bool)) for name in channels.outputs[layer.name].groups]
        )
        values = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            values = [values[0], values[1] * ~rows, values[2] * ~rows, values[3]]
        elif isinstance(layer, layers.DepthwiseConv2D):
            values = [values[0], *(bias * ~rows for bias in values[1:])]
        elif isinstance(layer, layers.Conv2D | layers.Dense):
            values = [value * ~rows for value in values]
        layer.set_weights(values)


@pytest.mark.parametrize(("name", "width", "head"), GRAPHS)
def test_dead_channels_go_and_copies_come_unnoticed(name: str, width: float, head: HeadOrder) -> None:
    network = built(name, width, head)
    channels = channels_of(network)
    random = np.random.default_rng(3)
    before = answers(network)
    bound = max(1.0, float(np.abs(before).max()))
    even = {group for layout in channels.even.values() for group in layout.groups}
    copied = {
        group: np.r_[: channels.widths[group], random.integers(0, channels.widths[group], 8)]
        for group in channels.free()
        if group not in even
    }
    copied |= {group: np.tile(np.arange(channels.widths[group]), 2) for group in even}
    larger = reindex(network, copied, noise=0.5, seed=4)
    np.testing.assert_allclose(answers(larger), before, atol=1e-4 * bound)
    assert count_parameters(larger) > count_parameters(network)

    dead = {group: random.random(channels.widths[group]) < 0.5 for group in channels.free().keys() - over_all(channels)}
    dead = {group: rows for group, rows in dead.items() if not rows.all()}
    killed(network, channels, dead)
    for layer in network.layers:  # columns of length one stay so: what dead features held of them goes beforehand
        if getattr(layer, "kernel_constraint", None) is not None:
            groups = channels.inputs[layer.name].groups
            rows = np.concatenate([dead.get(one, np.zeros(channels.widths[one], bool)) for one in groups])
            layer.set_weights([layer.kernel_constraint(layer.get_weights()[0] * ~rows[:, None])])
    smaller = reindex(network, {group: np.flatnonzero(~rows) for group, rows in dead.items()})
    before = answers(network)
    np.testing.assert_allclose(answers(smaller), before, atol=1e-5 * max(1.0, float(np.abs(before).max())))
    widths = channels.widths | {group: int((~rows).sum()) for group, rows in dead.items()}
    assert channels_of(smaller).widths == widths
    costs = bill_of(network, channels).total(widths)
    assert (costs["parameters"], costs["macs"]) == (count_parameters(smaller), count_macs(smaller)), "counted unbuilt"
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in network.layers]


# ---- a small graph with one of each ------------------------------------------------------------------------------


def zoo() -> Any:
    """Stem, a block with squeeze-excite in a residual sum, a fire module, LayerNorm, Flatten and two dense layers."""
    keras.utils.set_random_seed(5)
    photo = keras.Input((8, 8, 3), name="photo")
    x = layers.ReLU(name="stem_relu")(layers.Conv2D(8, 3, padding="same", name="stem")(photo))
    y = layers.BatchNormalization(name="expand_bn")(layers.Conv2D(16, 1, use_bias=False, name="expand")(x))
    y = layers.Activation("swish", name="expand_swish")(y)
    y = layers.DepthwiseConv2D(3, padding="valid", name="dw")(layers.ZeroPadding2D(1, name="pad")(y))
    s = layers.GlobalAveragePooling2D(name="se_pool")(y)
    s = layers.Dense(4, activation="relu", name="se_reduce")(s)
    s = layers.Reshape((1, 1, 16), name="se_reshape")(layers.Dense(16, name="se_expand")(s))
    s = ops.relu6(s + 3.0) * (1 / 6)
    y = layers.Multiply(name="se_excite")([y, s])
    y = layers.Conv2D(8, 1, name="project")(y)
    x = layers.Add(name="sum")([x, layers.Dropout(0.1, name="drop")(y)])
    squeeze = layers.Conv2D(4, 1, activation="relu", name="squeeze")(x)
    one = layers.Conv2D(6, 1, name="fire1")(squeeze)
    three = layers.Conv2D(10, 3, padding="same", name="fire3")(squeeze)
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(layers.Concatenate(name="concat")([one, three]))
    x = layers.MaxPooling2D(4, name="pool")(x)
    x = layers.LayerNormalization(name="ln")(layers.Conv2D(12, 1, name="mix")(x))
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(8, activation="tanh", name="hidden")(x)
    return drawn(keras.Model(photo, layers.Dense(3, name="logits")(x), name="zoo"))


def test_groups_hang_together() -> None:
    channels = channels_of(zoo())
    told = {name: (group.width, group.makers, group.users) for name, group in channels.free().items()}
    assert told == {
        "stem": (8, ("stem", "project"), ("expand", "squeeze")),
        "expand": (16, ("expand", "se_expand"), ("se_reduce", "project")),
        "se_reduce": (4, ("se_reduce",), ("se_expand",)),
        "squeeze": (4, ("squeeze",), ("fire1", "fire3")),
        "fire1": (6, ("fire1",), ("mix",)),
        "fire3": (10, ("fire3",), ("mix",)),
        "mix": (12, ("mix",), ("hidden",)),
        "hidden": (8, ("hidden",), ("logits",)),
    }
    assert channels.protected() == {"photo": "they are the photo's", "logits": "they are the logits"}
    assert {name: layout.groups for name, layout in channels.even.items()} == {"ln": ("mix",)}
    assert channels.inputs["mix"].groups == ("fire1", "fire3")
    assert (channels.inputs["hidden"].groups, channels.inputs["hidden"].tiles) == (("mix",), 4)
    assert channels.touched(["squeeze"]) == {"squeeze", "fire1", "fire3"}


def test_each_kind_of_layer_is_narrowed_and_widened() -> None:
    network = zoo()
    channels = channels_of(network)
    before = answers(network)
    random = np.random.default_rng(6)
    turned = {name: random.permutation(group.width) for name, group in channels.free().items()}
    np.testing.assert_allclose(answers(reindex(network, turned)), before, atol=1e-5)
    copied = {name: np.r_[turned[name], turned[name][:3]] for name in turned if name != "mix"}
    copied["mix"] = np.tile(np.arange(12), 3)
    larger = reindex(network, copied)
    np.testing.assert_allclose(answers(larger), before, atol=1e-5)
    again = network_from(network_bytes(larger))
    np.testing.assert_array_equal(answers(again), answers(larger))
    assert again.get_layer("se_reshape").target_shape == (1, 1, 19)
    assert network.get_layer("stem").filters == 8, "the network that came is left as it is"
    dead = {name: random.permutation(np.arange(group.width) % 2 == 0) for name, group in channels.free().items()}
    del dead["mix"]
    killed(network, channels, dead)
    smaller = reindex(network, {name: np.flatnonzero(~rows) for name, rows in dead.items()})
    np.testing.assert_allclose(answers(smaller), answers(network), atol=1e-6)
    for changed in (larger, smaller):
        costs = bill_of(network, channels).total(channels_of(changed).widths)
        free = sum(width for name, width in channels_of(changed).widths.items() if name in channels.free())
        assert costs == {"channels": free, "parameters": count_parameters(changed), "macs": count_macs(changed)}


def test_places_by_hand() -> None:
    """Two places of three channels, flattened: rows (place, channel) of the dense kernel; and a concatenation."""
    photo = keras.Input((1, 2, 3), name="photo")
    one, two = layers.Conv2D(3, 1, name="one")(photo), layers.Conv2D(2, 1, name="two")(photo)
    dense = layers.Dense(1, name="logits")(layers.Flatten()(one))
    beside = layers.Conv2D(1, 1, name="beside")(layers.Concatenate()([one, two]))
    total = layers.Add()([dense, layers.Flatten()(layers.GlobalAveragePooling2D()(beside))])
    network = keras.Model(photo, total)
    network.get_layer("logits").set_weights([np.arange(6.0)[:, None], np.zeros(1)])
    network.get_layer("beside").set_weights([np.arange(5.0)[None, None, :, None], np.zeros(1)])
    changed = reindex(network, {"one": np.array([2, 0, 2])})
    np.testing.assert_array_equal(changed.get_layer("logits").get_weights()[0][:, 0], [1, 0, 1, 2.5, 3, 2.5])
    np.testing.assert_array_equal(changed.get_layer("beside").get_weights()[0].ravel(), [1, 0, 1, 3, 4])
    kernel = network.get_layer("one").get_weights()[0]
    np.testing.assert_array_equal(changed.get_layer("one").get_weights()[0], kernel[..., [2, 0, 2]])


def test_noise_cancels_and_tells_copies_apart() -> None:
    network = zoo()
    twice = {"squeeze": np.tile(np.arange(4), 2)}
    even, uneven = reindex(network, twice), reindex(network, twice, noise=0.5, seed=1)
    kernels = [one.get_layer("fire3").get_weights()[0] for one in (even, uneven)]
    np.testing.assert_array_equal(kernels[0][:, :, :4], kernels[0][:, :, 4:])
    assert np.abs(kernels[1][:, :, :4] - kernels[1][:, :, 4:]).min() > 0
    scale = np.sqrt(np.mean(np.square(network.get_layer("fire3").get_weights()[0])))
    assert np.std(kernels[1] - kernels[0]) == pytest.approx(0.5 * scale * np.sqrt(0.5), rel=0.1)
    np.testing.assert_allclose(answers(uneven), answers(network), atol=1e-5)
    other, same = (reindex(network, twice, noise=0.5, seed=seed).get_layer("fire3").get_weights()[0] for seed in (2, 1))
    assert (other != kernels[1]).any()
    np.testing.assert_array_equal(same, kernels[1])


def test_columns_of_length_one_stay_so() -> None:
    """The cosine head's kernel has a constraint, which the next step of training would enforce."""
    network = built("feathernet", 0.25, HeadOrder(head="cosine"))
    (name,) = channels_of(network).even["head_unit"].groups
    kernel = reindex(network, {name: np.tile(np.arange(32), 2)}, noise=1.0).get_layer("head_logits").get_weights()[0]
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, rtol=1e-5)
    kernel = reindex(network, {name: np.arange(16)}).get_layer("head_logits").get_weights()[0]
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, rtol=1e-5)


def test_one_slope_for_all_channels_stays_as_it_is() -> None:
    photo = keras.Input((8, 8, 3), name="photo")
    x = keras.layers.PReLU(shared_axes=[1, 2, 3], name="slope")(keras.layers.Conv2D(8, 1, name="conv")(photo))
    x = keras.layers.GlobalAveragePooling2D()(x)
    network = keras.Model(photo, keras.layers.Dense(2, name="logits")(x))
    narrow = reindex(network, {"conv": np.arange(4)})
    assert narrow.get_layer("slope").get_weights()[0].shape == (1, 1, 1)
    assert narrow.get_layer("conv").filters == 4


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"steem": [0]}, r"no channels 'steem'. Did you mean 'stem'"),
        ({"logits": [0, 1]}, "cannot change: they are the logits"),
        ({"stem": [0, 8]}, r"taken from 0..7"),
        ({"stem": [-1]}, r"taken from 0..7"),
        ({"stem": []}, "at least one must stay"),
        ({"mix": [*range(12), 0]}, "'ln' normalizes over all channels of mix"),
    ],
)
def test_impossible_channels_are_refused(sources: dict[str, list[int]], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        reindex(zoo(), {name: np.array(rows, np.int64) for name, rows in sources.items()})
