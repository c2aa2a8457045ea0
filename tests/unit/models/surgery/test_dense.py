"""Dense layers cut and split: exact where nothing is lost, and refused where other layers need all units."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from featherlite.errors import RequestError
from featherlite.models.backbones import Order, card_of, family_of
from featherlite.models.heads import HeadOrder, build_head
from featherlite.models.surgery.bottleneck import kept_share, most_units, saved_by, with_bottleneck
from featherlite.models.surgery.dense import (
    dense_part,
    fresh_weights,
    has_fixed_columns,
    hidden_dense,
    hidden_named,
    output_dense,
    sliced_weights,
    with_outputs,
    with_units,
)

PHOTO = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)


def network(head: str = "dense", classes: int = 5, **settings: Any) -> Any:
    """A convolution and a head; weights and BatchNorm's statistics drawn by seed."""
    keras.utils.set_random_seed(2)
    photo = keras.Input((16, 16, 3), name="photo")
    x = keras.layers.Conv2D(10, 3, strides=4, activation="relu", name="stem")(photo)
    model = keras.Model(photo, build_head(x, classes, HeadOrder(head=head, **settings)), name="small")
    random = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


def far(one: Any, other: Any) -> float:
    return float(np.abs(one.predict_on_batch(PHOTO) - other.predict_on_batch(PHOTO)).max())


# ---- units -------------------------------------------------------------------------------------------------------


def test_hidden_layers_are_found_with_what_hangs_on_them() -> None:
    found = hidden_dense(network(head_units=(12, 8)))
    assert list(found) == ["head_dense1", "head_dense2"]
    first = found["head_dense1"]
    assert (first.inputs, first.units) == (10, 12)
    assert (first.between, first.readers) == (("head_dense1_bn",), ("head_dense2",))
    assert first.changed == ("head_dense1", "head_dense1_bn", "head_dense2")
    assert first.parameters == 10 * 12 + 4 * 12 + 12 * 8, "its kernel, its BatchNorm, and the rows that read it"
    assert found["head_dense2"].readers == ("head_logits",)
    assert hidden_dense(network("plain")) == hidden_dense(network("cosine")) == {}


def test_units_in_another_order_are_the_same_network() -> None:
    model = network(head_units=(12, 8))
    hidden = hidden_named(model, "head_dense1")
    order = np.random.default_rng(1).permutation(12)
    assert far(model, with_units(model, hidden, sliced_weights(model, hidden, order))) < 1e-5


def test_units_that_nothing_listens_to_go_without_a_trace() -> None:
    model = network(head_units=(12, 8))
    reader = model.get_layer("head_dense2")
    kernel = reader.get_weights()[0]
    kernel[[2, 5, 11]] = 0.0
    reader.set_weights([kernel])
    hidden = hidden_named(model, "head_dense1")
    kept = np.setdiff1d(np.arange(12), [2, 5, 11])
    cut = with_units(model, hidden, sliced_weights(model, hidden, kept))
    assert far(model, cut) < 1e-5
    assert model.count_params() - cut.count_params() == 3 * (10 + 4 + 8)
    assert [layer.name for layer in cut.layers] == [layer.name for layer in model.layers]
    kept = np.setdiff1d(np.arange(12), [0, 5, 11])
    assert far(model, with_units(model, hidden, sliced_weights(model, hidden, kept))) > 1e-3, "unit 0 is heard"


def test_dense_layers_on_maps_are_cut_too() -> None:
    """ConvNeXt's pointwise convolutions are dense layers: found where asked for, with the GELU between them."""
    card = card_of("ConvNeXtTiny")
    model = family_of(card).build(Order(card, 32, 32))
    assert not hidden_dense(model)
    on_maps = hidden_dense(model, pooled=False)
    assert len(on_maps) == 18, "one a block"
    first = next(iter(on_maps.values()))
    cut = with_units(model, first, sliced_weights(model, first, np.arange(0, first.units, 2)))
    assert model.count_params() - cut.count_params() == first.units // 2 * (first.inputs + 1 + first.inputs)


def test_weights_anew_come_from_the_seed() -> None:
    model = network(head_units=(12, 8))
    hidden = hidden_named(model, "head_dense1")
    one, same, other = (fresh_weights(model, hidden, 6, seed) for seed in (1, 1, 2))
    assert {name: [value.shape for value in values] for name, values in one.items()} == {
        "head_dense1": [(10, 6)],
        "head_dense1_bn": [(6,)] * 4,
        "head_dense2": [(6, 8)],
    }
    np.testing.assert_array_equal(one["head_dense1"][0], same["head_dense1"][0])
    assert (one["head_dense1"][0] != other["head_dense1"][0]).any()
    assert np.abs(one["head_dense2"][0]).max() <= np.sqrt(6 / (6 + 8)) + 1e-6, "Glorot's bound for the new size"
    np.testing.assert_array_equal(one["head_dense1_bn"], [np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)])


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda x, y: keras.layers.Add(name="sum")([x, y]), "'sum' joins them with others"),
        (lambda x, _y: keras.layers.Softmax(name="soft")(x), "'soft' behind it takes all of them"),
        (lambda x, _y: keras.layers.Activation("softmax", name="soft")(x), "'soft' behind it takes all of them"),
        (lambda x, y: keras.layers.Concatenate(name="joined")([x, y]), "'joined' behind it takes all of them"),
        (lambda x, _y: keras.layers.LayerNormalization(name="norm")(x), "'norm' behind it takes all of them"),
    ],
)
def test_what_needs_all_units_is_named(build: Any, why: str) -> None:
    feature = keras.Input((4,))
    x = build(keras.layers.Dense(4, name="inner")(feature), feature)
    model = keras.Model(feature, keras.layers.Dense(2, name="outer")(x))
    with pytest.raises(RequestError, match=why):
        hidden_named(model, "inner")


def test_units_that_share_one_whole_are_no_hidden_layer() -> None:
    feature = keras.Input((4,))
    shares = keras.layers.Dense(4, activation="softmax", name="inner")(feature)
    model = keras.Model(feature, keras.layers.Dense(2, name="outer")(shares))
    with pytest.raises(RequestError, match="its activation, softmax, takes all of them"):
        hidden_named(model, "inner")


def test_columns_of_length_one_stay_so() -> None:
    """Where units go that a cosine head reads: else classes that are added later would have longer ones."""
    feature = keras.Input((6,))
    x = keras.layers.Dense(8, activation="relu", name="inner")(feature)
    outer = keras.layers.Dense(3, use_bias=False, kernel_constraint=keras.constraints.UnitNorm(axis=0), name="outer")
    model = keras.Model(feature, outer(x))
    hidden = hidden_named(model, "inner")
    (kernel,) = sliced_weights(model, hidden, np.arange(5))["outer"]
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, rtol=1e-5)


def test_layers_that_are_none_are_refused() -> None:
    model = network(head_units=(12, 8))
    with pytest.raises(RequestError, match=r"no dense layer 'head_dens2'.*Did you mean 'head_dense2'\?"):
        hidden_named(model, "head_dens2")
    with pytest.raises(RequestError, match="no dense layer 'stem'"):
        hidden_named(model, "stem")
    with pytest.raises(RequestError, match="they are the answers of the network"):
        hidden_named(model, "head_logits")
    with pytest.raises(RequestError, match="build it with head=dense"):
        hidden_named(network("plain"), "head_dense1")


# ---- outputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["plain", "dense", "cosine"])
def test_outputs_are_sliced_and_added(head: str) -> None:
    model = network(head)
    kernel, *bias = output_dense(model).get_weights()
    assert has_fixed_columns(output_dense(model)) == (head == "cosine")
    wanted = model.predict_on_batch(PHOTO)[:, [3, 0, 3]]
    chosen = with_outputs(model, kernel[:, [3, 0, 3]], bias[0][[3, 0, 3]] if bias else None)
    np.testing.assert_allclose(chosen.predict_on_batch(PHOTO), wanted, atol=1e-5)
    assert chosen.output_shape == (None, 3)
    assert has_fixed_columns(output_dense(chosen)) == (head == "cosine"), "the constraint stays"


@pytest.mark.parametrize(
    "name",
    [
        "feathernet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "MobileNetV1",
                "MobileNetV2",
                "MobileNetV3Small",
                "MobileNetV4ConvSmall",
                "EfficientNetB0",
                "ResNet18",
                "ConvNeXtTiny",
                "SqueezeNet1_1",
            )
        ),
    ],
)
@pytest.mark.parametrize("head", ["dense", "cosine"])
def test_every_backbone_takes_all_of_it(name: str, head: str) -> None:
    card = card_of(name)
    backbone = family_of(card).build(Order(card, 32, 32))
    settings = {"head_units": (24,)} if head == "dense" else {}
    answers = build_head(backbone.output, 6, HeadOrder(head=head, **settings))
    model = keras.Model(backbone.inputs[0], answers, name=name)
    photo = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    kernel, *bias = output_dense(model).get_weights()
    fewer = with_outputs(model, kernel[:, 1:5], bias[0][1:5] if bias else None)
    np.testing.assert_allclose(fewer.predict_on_batch(photo), model.predict_on_batch(photo)[:, 1:5], atol=1e-4)
    found = hidden_dense(fewer)
    assert list(found) == (["head_dense1"] if head == "dense" else [])
    for hidden in found.values():
        cut = with_units(fewer, hidden, sliced_weights(fewer, hidden, np.arange(8)))
        assert cut.get_layer("head_dense1").units == 8
        assert np.isfinite(cut.predict_on_batch(photo)).all()
    wide = next(iter(found), "head_logits")
    narrow, added = with_bottleneck(fewer, wide, 2)
    assert narrow.output_shape == (None, 4)
    assert fewer.count_params() - narrow.count_params() == saved_by(fewer.get_layer(wide), 2)
    assert set(dense_part(narrow)) >= {added, wide}


def test_answers_from_elsewhere_are_refused() -> None:
    photo = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="classes")(photo)
    model = keras.Model(photo, keras.layers.GlobalAveragePooling2D(name="head_pool")(x), name="all_conv")
    with pytest.raises(RequestError, match=r"come from 'head_pool', which is no dense layer.*plain, dense or cosine"):
        output_dense(model)
    soft = keras.Model(photo, keras.layers.Softmax()(keras.layers.Dense(4, name="last")(model.output)))
    assert output_dense(soft).name == "last"


def test_the_dense_part_ends_at_the_pooling() -> None:
    assert dense_part(network(head_units=(12,))) == ("head_dense1", "head_dense1_bn", "head_logits")
    assert dense_part(network("cosine")) == ("head_logits",)


# ---- bottlenecks -------------------------------------------------------------------------------------------------


def test_what_a_narrow_layer_saves_by_hand() -> None:
    """1280 x 524 = 670,720 against 32 x (1280 + 524) = 57,728."""
    dense = keras.layers.Dense(524)
    dense.build((None, 1280))
    assert saved_by(dense, 32) == 670_720 - 57_728
    assert saved_by(dense, most_units(dense)) > 0 >= saved_by(dense, most_units(dense) + 1)
    tiny = keras.layers.Dense(1)
    tiny.build((None, 9))
    assert most_units(tiny) == 0


@pytest.mark.parametrize("head", ["plain", "dense", "cosine"])
def test_a_kernel_of_low_rank_is_split_without_loss(head: str) -> None:
    model = network(head, classes=9)
    dense = output_dense(model)
    kernel, *bias = dense.get_weights()
    random = np.random.default_rng(5)
    low = random.normal(size=(kernel.shape[0], 3)) @ random.normal(size=(3, 9))
    if head == "cosine":  # the features must lie in that space too: their length counts
        low /= np.linalg.norm(low, axis=0)
    dense.set_weights([low, *bias])
    split, name = with_bottleneck(model, dense.name, 3)
    assert name == "head_logits_bottleneck"
    assert kept_share(dense, 3) == pytest.approx(1.0)
    narrow = split.get_layer(name)
    assert narrow.get_weights()[0].shape == (kernel.shape[0], 3)
    assert not narrow.use_bias
    before, after = model.predict_on_batch(PHOTO), split.predict_on_batch(PHOTO)
    if head == "cosine":
        lengths = np.linalg.norm(split.get_layer("head_logits").get_weights()[0], axis=0)
        np.testing.assert_allclose(lengths, 1.0, atol=1e-5)
        ratio = after / before
        np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(9), rtol=1e-3)
        assert (np.abs(ratio) >= 1 - 1e-4).all(), "the same order of classes, at larger cosines"
        assert split.get_layer("head_unit").output.shape == (None, 3), "brought to length one behind the narrow layer"
    else:
        np.testing.assert_allclose(after, before, atol=1e-4)
    again, second = with_bottleneck(split, "head_logits", 2)
    assert second == "head_logits_bottleneck2"
    assert again.get_layer(second).units == 2


def test_the_best_approximation_is_kept() -> None:
    """diag(3, 2, 1) at rank 2 is diag(3, 2, 0), which keeps 13/14 of its squared size."""
    feature = keras.Input((3,))
    model = keras.Model(feature, keras.layers.Dense(3, use_bias=False, name="last")(feature))
    model.get_layer("last").set_weights([np.diag([3.0, 2.0, 1.0])])
    assert kept_share(model.get_layer("last"), 2) == pytest.approx(13 / 14)
    assert kept_share(model.get_layer("last"), 1) == pytest.approx(9 / 14)


def test_directions_of_unknown_making_are_refused() -> None:
    photo = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.UnitNormalization(name="unit")(photo))
    constraint = keras.constraints.UnitNorm(axis=0)
    model = keras.Model(photo, keras.layers.Dense(4, kernel_constraint=constraint, name="last")(x), name="strange")
    with pytest.raises(RequestError, match="compares directions, but not as the cosine head does"):
        with_bottleneck(model, "last", 1)
