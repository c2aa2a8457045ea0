"""The step `resize_input`: sizes walked one by one, statistics renewed, and impossible sizes refused beforehand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.photos import load_photos
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import DataError, RequestError
from featherlite.models.network import load_network, network_bytes
from featherlite.models.surgery.input_size import resized, smallest_size
from featherlite.preprocess import network_input
from featherlite.shrink.resize_input import ResizeInputConfig, resize_input

from ..stopping import interrupted

layers = keras.layers
PX = 24
QUICK: dict[str, Any] = {"epochs": 1, "batch": 12, "ema": "none", "augment": 0.0, "max_drop": 1.0}


def with_norm(color_bundle: Bundle) -> Bundle:
    """A network with BatchNorm, dropout and random weights."""
    keras.utils.set_random_seed(2)
    x = photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9, name="stem_bn")(x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D(name="head_pool")(x))
    network = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="normed")
    return color_bundle.with_network(network_bytes(network))


def run(bundle: Bundle, ctx: Any, **options: Any) -> Bundle:
    return resize_input(bundle, ResizeInputConfig(**(QUICK | options)), ctx)


def test_sizes_are_walked_down_and_up(color_bundle: Bundle, make_context: Any) -> None:
    ctx, came = make_context(), color_bundle.with_files({"exports/int8/model.tflite": b"stale"})
    result = run(came, ctx, sizes=(20, 16, 20))
    assert load_network(result).input_shape == (None, 20, 20, 3)
    assert (result.preprocess.width, result.preprocess.height) == (20, 20)
    assert result.preprocess.fit == came.preprocess.fit
    facts = ctx.details["resize_input"]
    assert (facts["from_px"], [row["px"] for row in facts["sizes"]]) == (24, [20, 16, 20])
    assert all({"as_it_came", "renewed", "top1", "kept"} <= set(row) for row in facts["sizes"])
    assert facts["top1"] == facts["sizes"][-1]["top1"] == 1.0, "the mean brightness is the same at any size"
    assert result.exports == (), "the former network's artefacts no longer hold"
    assert result.labels == came.labels
    before, after = (load_network(one) for one in (came, result))
    assert [layer.name for layer in after.layers[1:]] == [layer.name for layer in before.layers[1:]]


def test_without_training_photos_there_are_no_statistics(color_bundle: Bundle, make_context: Any) -> None:
    rows = [row for row in read_splits(color_bundle).rows() if row[4] != "train"]
    untrained = with_norm(color_bundle).with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    with pytest.raises(DataError, match="train split has no photos to estimate BatchNorm's statistics from"):
        run(untrained, make_context(), epochs=0)


def test_left_open_it_goes_one_step_down(color_bundle: Bundle, make_context: Any) -> None:
    result = run(color_bundle, make_context(), epochs=0)
    assert result.preprocess.width == 16, "seven eighths of 24 are 21, and 16 is the next multiple of 8"
    ctx = make_context()
    assert run(result, ctx, epochs=0) is result
    assert "no size in multiples of 8" in ctx.details["warnings"][0]


def test_statistics_are_renewed_where_asked(color_bundle: Bundle, make_context: Any) -> None:
    bundle = with_norm(color_bundle)
    nets = [
        load_network(run(bundle, make_context(), sizes=(16,), epochs=0, renew_batchnorm=on)) for on in (True, False)
    ]
    came = load_network(bundle)
    for position in (0, 1):  # gamma and beta are trained, not measured
        np.testing.assert_array_equal(
            nets[0].get_layer("stem_bn").get_weights()[position], came.get_layer("stem_bn").get_weights()[position]
        )
    for position in (2, 3):
        np.testing.assert_array_equal(
            nets[1].get_layer("stem_bn").get_weights()[position], came.get_layer("stem_bn").get_weights()[position]
        )
    # All training photos are one batch here, so the statistics are those of what the stem makes of them at that size.
    small = load_photos(
        bundle, "train", make_context(), bundle.preprocess.model_copy(update={"width": 16, "height": 16})
    )
    assert len(small) <= 32
    stem = keras.Model(nets[0].inputs, nets[0].get_layer("stem").output)
    made = np.asarray(stem(network_input(np.asarray(small.images[np.arange(len(small))]))), np.float64)
    _, _, mean, variance = nets[0].get_layer("stem_bn").get_weights()
    np.testing.assert_allclose(mean, made.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, made.var(axis=(0, 1, 2)), rtol=1e-3, atol=1e-6)


def test_the_last_good_size_is_returned(color_bundle: Bundle, make_context: Any) -> None:
    """A ring of zeros around the map takes a larger share of a smaller one: by design that is read as 'blue'."""
    network = load_network(color_bundle)
    map_ = network.get_layer("mix").output
    one = layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer="ones", name="one")(map_)
    share = layers.GlobalAveragePooling2D(name="share")(layers.ZeroPadding2D(1, name="ring")(one))
    base = 12**2 / 14**2
    blue = layers.Dense(3, activation="relu", name="blue")(share)
    wrong = keras.Model(network.input, layers.Add(name="sum")([network.output, blue]), name="size_bound")
    wrong.get_layer("blue").set_weights([np.array([[-1000.0, 0, 0]]), np.array([1000.0 * base, 0, 0])])
    bundle, ctx = color_bundle.with_network(network_bytes(wrong)), make_context()
    result = run(bundle, ctx, sizes=(32, 20, 16), epochs=0, max_drop=0.1, renew_batchnorm=False)
    assert load_network(result).input_shape == (None, 32, 32, 3)
    assert result.preprocess.width == 32
    rows = ctx.details["resize_input"]["sizes"]
    assert [(row["px"], row["kept"]) for row in rows] == [(32, True), (20, False)]
    assert (
        "At 20 px validation top-1 fell from 1.000 to 0.333, by more than max_drop = 0.1" in ctx.details["warnings"][-1]
    )
    assert run(bundle, make_context(), sizes=(20,), epochs=0, max_drop=0.1) is bundle


def test_a_layer_that_is_bound_to_its_size_cannot_go_up(color_bundle: Bundle, make_context: Any) -> None:
    bundle = color_bundle.with_network(network_bytes(flat()))
    with pytest.raises(RequestError) as refused:
        run(bundle, make_context(), sizes=(PX + 8,))
    assert refused.value.hint == "A layer is bound to the size that the network was built for: it cannot go up."


def flat() -> Any:
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(2, 3, strides=4, padding="same", name="stem")(photo)
    return keras.Model(photo, layers.Dense(3, name="head_logits")(layers.Flatten(name="flat")(x)), name="flat")


def shaped() -> Any:
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(2, 1, strides=8, name="stem")(photo)
    return keras.Model(photo, layers.Dense(3)(layers.Reshape((18,), name="line")(x)), name="shaped")


def valid() -> Any:
    x = photo = keras.Input((PX, PX, 3), name="photo")
    for number in range(2):
        x = layers.Conv2D(2, 5, strides=2, name=f"conv{number}")(x)
    x = layers.Conv2D(2, 3, name="conv2")(x)
    return keras.Model(photo, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="valid")


def stepping() -> Any:
    """24 -> 6 -> 2: at 16 px the map before the second step is 4x4, at 11 px 3x3."""
    x = photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(2, 3, strides=4, padding="same", name="conv0")(x)
    x = layers.DepthwiseConv2D(3, strides=5, padding="same", name="conv1")(x)
    return keras.Model(photo, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="stepping")


@pytest.mark.parametrize(
    ("make", "reason", "least"),
    [
        (flat, r"'head_logits' is bound to the size it was built for \(\(72, 3\), not \(32, 3\)\)", 21),
        (shaped, "does not hold together", 17),
        (valid, "does not hold together", 21),
        (stepping, "the map before 'conv1' is 4x4, less than one step of it", 17),
    ],
)
def test_a_size_that_collapses_the_network_is_refused(
    make: Any, reason: str, least: int, color_bundle: Bundle, make_context: Any
) -> None:
    network, ctx = make(), make_context()
    with pytest.raises(RequestError, match=reason) as refused:
        run(color_bundle.with_network(network_bytes(network)), ctx, sizes=(24, 16))
    assert refused.value.hint == f"The smallest size that works is {least} px."
    assert smallest_size(network, 16) == least
    resized(network, least, least)
    with pytest.raises(RequestError, match="cannot take photos of"):
        resized(network, least - 1, least - 1)


def test_an_oblong_contract_keeps_its_proportion(color_bundle: Bundle, make_context: Any) -> None:
    network = resized(load_network(color_bundle), 24, 36)
    contract = color_bundle.preprocess.model_dump() | {"height": 24, "width": 36}
    bundle = color_bundle.with_network(network_bytes(network)).with_json("preprocess.json", contract)
    result = run(bundle, make_context(), sizes=(30,), epochs=0)
    assert (result.preprocess.height, result.preprocess.width) == (20, 30)
    assert load_network(result).input_shape[1:3] == (20, 30)
    with pytest.raises(
        RequestError, match="20 px means photos of 13x20, as the network takes them in 24x36"
    ) as refused:
        run(bundle, make_context(), sizes=(20,), epochs=0)
    assert refused.value.hint == "Ask for 24 px or more."


def test_an_interrupted_resizing_ends_alike(color_bundle: Bundle, make_context: Any) -> None:
    """Bit for bit: stopped in the second size's second epoch."""
    bundle, options = with_norm(color_bundle), {"sizes": (20, 16), "epochs": 2}
    _, _, left = interrupted(make_context, lambda ctx: run(bundle, ctx, **options), "train", 7)  # two batches an epoch
    assert "size-1.keras" in left
    assert "size-2.keras" not in left


def test_settings_that_would_do_nothing_are_refused() -> None:
    for idle in ({"stages": 3}, {"progressive": (16, 24)}):
        with pytest.raises(ValidationError, match="does nothing here"):
            ResizeInputConfig(**idle)
