"""Quantization points: the rules by hand, and held against what the converter really stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.models import convert_worker
from featherlite.models.backbones import Order, backbones, card_of
from featherlite.models.heads.cosine import cosine
from featherlite.models.prescribed import layers_of
from featherlite.quantize.measured import measured_scheme
from featherlite.quantize.points import apart, ends, points, ties, unit_products
from featherlite.runtime.flatbuffer import inspect

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

FAMILIES = sorted({card.family: name for name, card in list(backbones().items())[::-1]}.values())
"""The smallest network of each family."""
FAMILIES.remove("ConvNeXtTiny")  # has no integer form
ROUND = ("hard_sigmoid",)
"""Activations that store a value on their way."""
PHOTOS = np.random.default_rng(0).integers(0, 256, (16, 24, 24, 3), dtype=np.uint8)


def network() -> Any:
    """Every kind of neighborhood: fused and inline activations, a sum, both pools, a concatenation, squeeze-excite."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    photo = keras.Input((24, 24, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(photo)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(x)
    y = layers.Conv2D(8, 1, use_bias=False, name="project")(y)
    y = layers.BatchNormalization(name="project_bn")(y)
    x = layers.Add(name="sum")([x, layers.Dropout(0.2, name="drop")(y)])
    x = layers.Conv2D(8, 1, activation="swish", name="inline")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    left = layers.Conv2D(4, 1, activation="relu", name="left")(x)
    right = layers.Conv2D(4, 1, activation="relu", name="right")(x)
    x = layers.Concatenate(name="joined")([left, right])
    s = layers.GlobalAveragePooling2D(name="squeeze")(x)
    s = layers.Reshape((1, 1, 8), name="shaped")(s)
    s = layers.Conv2D(4, 1, activation="relu", name="reduce")(s)
    s = layers.Conv2D(8, 1, name="expand")(s)
    s = layers.Activation("hard_sigmoid", name="gate")(s)
    x = layers.Multiply(name="excite")([x, s])
    x = layers.Conv2D(8, 1, name="last")(x)
    x = layers.Activation("hard_silu", name="last_swish")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, layers.Dense(3, name="logits")(x), name="all")


STORED = (
    *("stem_relu", "depthwise", "project_bn", "sum", "inline", "inline_activation", "left", "right", "squeeze"),
    *("reduce", "gate", "excite", "last", "last_swish", "head_pool", "logits"),
)


def test_the_ends_of_fused_chains_are_points_and_what_keeps_a_range_is_none() -> None:
    made = network()
    assert points(made) == tuple(name for name in STORED if name != "inline_activation")
    assert ties(made) == (("left", "right"),)


def test_apart_makes_two_layers_of_one_and_leaves_answers_and_fused_activations() -> None:
    made = network()
    split = apart(made)
    assert points(split) == STORED
    assert split.get_layer("depthwise").activation.__name__ == "relu6"
    assert made.get_layer("inline").activation.__name__ == "silu", "the network given is left as it is"
    values = (PHOTOS.astype(np.float32) - 128) / 128
    np.testing.assert_allclose(split.predict(values, verbose=0), made.predict(values, verbose=0), atol=1e-6)
    assert apart(split) is split


def test_a_convolution_that_feeds_two_layers_is_stored_and_so_is_the_relu_behind_it() -> None:
    photo = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="shared")(photo)
    x = keras.layers.Add(name="sum")([keras.layers.ReLU(name="clamped")(x), x])
    assert points(keras.Model(photo, x)) == ("shared", "clamped", "sum")


def test_the_mean_of_one_pixel_is_stored_before_a_head_and_not_where_it_is_a_map_again() -> None:
    layers, photo = keras.layers, keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 8, name="all")(photo)
    again = layers.Reshape((1, 1, 4), name="again")(layers.GlobalAveragePooling2D(name="mean")(x))
    x = layers.Multiply(name="excite")([x, layers.Conv2D(4, 1, activation="sigmoid", name="gate")(again)])
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    assert points(keras.Model(photo, layers.Dense(2, name="logits")(x))) == ("all", "excite", "head_pool", "logits")


def test_concatenations_that_overlap_are_tied_together_through_pools() -> None:
    layers, photo = keras.layers, keras.Input((8, 8, 3))
    a, b, c = (layers.Conv2D(4, 1, name=name)(photo) for name in "abc")
    first = layers.Concatenate(name="first")([layers.MaxPooling2D(1, name="pool")(a), b])
    second = layers.Concatenate(name="second")([layers.Dropout(0.5, name="drop")(first), c])
    assert ties(keras.Model(photo, second)) == (("a", "b", "c"),)


def test_a_vector_over_its_length_is_one_operation_and_a_factor_goes_into_the_dense_layer_behind() -> None:
    layers, photo = keras.layers, keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(name="pooled")(photo)
    made = keras.Model(photo, cosine(x, 3, dropout=0.1, cosine_scale=16.0))
    inside = ("head_inverse", "head_floor", "head_sum", "head_square")
    assert points(made) == ("pooled", "head_logits")
    assert unit_products(made) == {"head_unit": inside}
    assert ends(made) == {"head_logits"}
    for offset, stored in ((0.0, ()), (0.5, ("factor",))):
        x = layers.Rescaling(2.0, offset=offset, name="factor")(made.get_layer("pooled").output)
        x = layers.Dense(3, name="logits")(x)
        assert points(keras.Model(made.inputs, x)) == ("pooled", *stored, "logits")


def test_scopes_name_layers() -> None:
    layers = ("photo", "stem", "bn", "relu")
    assert layers_of("layer-3/relu/Relu6;layer-2/bn/add;layer-1/stem/convolution", layers) == ("stem", "bn", "relu")
    assert (
        layers_of("reshaped/Reshape", layers) == layers_of("Identity", layers) == layers_of("layer-9/x", layers) == ()
    )


def converted(made: Any, photos: Any, place: Path) -> tuple[dict[str, tuple[float, float]], bytes]:
    """The ranges of a network that is apart, and its artefact: made in this process, since its names are wanted."""
    ranges = dict(measured_scheme(made, photos, "minmax").activations)
    # Nothing that calibration would have found: it is the prescribed range that has to come out.
    ranges = {name: (1.3 * low, 1.7 * high) for name, (low, high) in ranges.items()}
    made.save(place / "m.keras")
    np.save(place / "photos.npy", photos)
    files = {"photos": str(place / "photos.npy"), "tell": str(place / "told.json")}
    order = {"form": "int8", "kernels": "channel", "ranges": ranges, **files}
    (place / "order.json").write_text(json.dumps(order))
    convert_worker.main(str(place / "m.keras"), str(place / "m.tflite"), str(place / "order.json"))
    told = json.loads(Path(place / "told.json").read_text())
    assert told["layers"] == [operation.name for operation in made.operations]
    assert told["absent"] == []
    return ranges, (place / "m.tflite").read_bytes()


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, tuple[float, float]], bytes]:
    """The network apart, its ranges, and its artefact."""
    made = apart(network())
    return made, *converted(made, PHOTOS, tmp_path_factory.mktemp("points"))


def test_prescribed_ranges_are_those_of_the_artefact(
    artefact: tuple[Any, dict[str, tuple[float, float]], bytes],
) -> None:
    made, ranges, data = artefact
    facts, names = inspect(data), [operation.name for operation in made.operations]
    ends = {
        fused[-1]: facts.tensors[op.outputs[0]] for op in facts.ops if (fused := layers_of(_name(facts, op), names))
    }
    ends["logits"] = facts.output
    assert facts.int8_only
    for name, (low, high) in ranges.items():
        scale = (high - low) / 255
        assert ends[name].scale == pytest.approx(scale, rel=1e-5), name
        assert abs(ends[name].zero_point - (-128 - low / scale)) <= 0.501, name
    assert (facts.input.scale, facts.input.zero_point) == (1 / 128, 0)
    for kept, source in (("pool", "inline_activation"), ("joined", "left"), ("joined", "right")):
        assert (ends[kept].scale, ends[kept].zero_point) == (ends[source].scale, ends[source].zero_point)


def test_every_stored_value_with_a_range_of_its_own_is_a_point(
    artefact: tuple[Any, dict[str, tuple[float, float]], bytes],
) -> None:
    """But what lies inside of a layer, of which here is one: the clamped sum within the hard sigmoid."""
    assert unforeseen(*artefact) == [("gate",)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_rules_hold_for_every_family_that_has_an_integer_form(name: str, tmp_path: Path) -> None:
    from featherlite.models.weights.backbone import build_backbone

    card = card_of(name)
    size = max(card.min_px, 32)  # where some maps are one pixel
    keras.utils.set_random_seed(0)
    backbone = build_backbone(Order(card, size, size), weights="none")
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(backbone.output)
    made = apart(keras.Model(backbone.inputs[0], keras.layers.Dense(3, name="logits")(x)))
    photos = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    ranges, data = converted(made, photos, tmp_path)
    inside = {one.name for one in made.layers if getattr(getattr(one, "activation", None), "__name__", "") in ROUND}
    assert {one for ends in unforeseen(made, ranges, data) for one in ends} <= inside
    assert inspect(data).int8_only


def unforeseen(made: Any, ranges: dict[str, tuple[float, float]], data: bytes) -> list[tuple[str, ...]]:
    """The layers that end in a stored value whose scale was not prescribed."""
    facts, names = inspect(data), [operation.name for operation in made.operations]
    return [
        layers_of(_name(facts, op), names)[-1:]
        for op in facts.ops
        if (tensor := facts.tensors[op.outputs[0]]).scale is not None
        and (tensor.scale, tensor.zero_point) not in ((1 / 256, -128), (1 / 128, 0))  # a sigmoid's, the photo's
        and not any(tensor.scale == pytest.approx((high - low) / 255, rel=1e-5) for low, high in ranges.values())
    ]


def _name(facts: Any, op: Any) -> str:
    return str(facts.tensors[op.outputs[0]].name)
