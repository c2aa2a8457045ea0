"""A grown network: the same answers before training, copies that part, blocks that begin as nothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.models.network import count_parameters, load_network, network_bytes, network_from
from featherlite.models.surgery.channels import channels_of
from featherlite.shrink.grow_back import GrowBackConfig, grow_back, wider
from featherlite.step import Context, Silent

from ..stopping import StopError, Stopping

QUICK: dict[str, Any] = {"epochs": 1, "batch": 12, "ema": "none", "augment": 0.0, "stages": 1}


def grown(bundle: Bundle, ctx: Context, **options: Any) -> Bundle:
    return grow_back(bundle, GrowBackConfig(**{"epochs": 0} | options), ctx)


def logits(bundle: Bundle) -> Any:
    network = load_network(bundle)
    photos = np.random.default_rng(0).uniform(-1, 1, (4, *network.input_shape[1:])).astype(np.float32)
    return np.asarray(network(photos, training=False))


@pytest.mark.parametrize(
    "options", [{"widen": 1.5, "multiple": 4}, {"widen": 1.0, "deepen": 3}, {"widen": 2, "deepen": 1}]
)
def test_nothing_changes_before_training(color_bundle: Bundle, make_context: Any, options: dict[str, Any]) -> None:
    ctx = make_context()
    after = grown(color_bundle, ctx, **options)
    np.testing.assert_allclose(logits(after), logits(color_bundle), atol=1e-4)
    told = ctx.details["grow_back"]
    assert told["largest_change"] < 1e-4
    assert told["reference"] == told["top1"] == 1.0
    old, new = load_network(color_bundle), load_network(after)
    assert told["end"]["parameters"] == count_parameters(new) > count_parameters(old) == told["start"]["parameters"]
    assert new.get_layer("stem").filters == round(8 * options["widen"])
    assert told["widths"] == ({"stem": [8, round(8 * options["widen"])]} if options["widen"] > 1 else {})
    added = [layer.name for layer in new.layers if layer.name not in {one.name for one in old.layers} | {"photo"}]
    assert len(added) == 6 * options.get("deepen", 0)
    assert set(told["blocks"]) == {name for name in added if new.get_layer(name).weights}


def test_widths_are_the_nearest_multiples() -> None:
    """24 normalized over, so by whole factors alone; 20 and 6 by any."""
    photo = keras.Input((4, 4, 3), name="photo")
    x = layers.LayerNormalization(name="ln")(layers.Conv2D(24, 1, name="wide")(photo))
    x = layers.Conv2D(6, 1, name="narrow")(layers.Conv2D(20, 1, name="odd")(x))
    network = keras.Model(photo, layers.Dense(3, name="logits")(layers.Flatten()(x)))
    channels = channels_of(network)
    new, kept = wider(channels, 1.5, 8)
    assert new == {"odd": 32, "narrow": 8}
    assert kept["wide"] == "'ln' normalizes over them: they grow by whole factors alone"
    assert wider(channels, 2.2, 8)[0] == {"wide": 48, "odd": 48, "narrow": 16}
    assert wider(channels, 1.1, 8)[0] == {"odd": 24, "narrow": 8}
    assert wider(channels, 1.5, 1)[0] == {"odd": 30, "narrow": 9}
    assert wider(channels, 1, 8)[0] == {}, "not even to the next multiple"


def test_noise_tells_copies_apart(color_bundle: Bundle, make_context: Any) -> None:
    kernels = {}
    for noise in (0.0, 0.5):
        network = load_network(grown(color_bundle, make_context(), widen=2, noise=noise))
        kernels[noise] = network.get_layer("head_logits").get_weights()[0]
    np.testing.assert_array_equal(kernels[0.0][:8], kernels[0.0][8:])
    assert np.abs(kernels[0.5][:8] - kernels[0.5][8:]).min() > 0
    np.testing.assert_allclose(kernels[0.5][:8] + kernels[0.5][8:], 2 * kernels[0.0][:8], atol=1e-5)


def test_a_residual_block_is_repeated(color_bundle: Bundle, make_context: Any) -> None:
    """Behind the ReLU that its original feeds; the second growth finds other names; all is trained in place."""
    keras.utils.set_random_seed(3)
    photo = keras.Input((24, 24, 3), name="photo")
    x = layers.Conv2D(4, 3, strides=4, activation="relu", name="stem")(photo)
    y = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, padding="same", name="conv")(x))
    x = layers.ReLU(name="relu")(layers.Add(name="sum")([x, y]))
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="one_block")
    bundle = color_bundle.with_network(network_bytes(network))
    after = grown(bundle, make_context(), widen=1, deepen=2)
    np.testing.assert_array_equal(logits(after), logits(bundle))
    names = [layer.name for layer in load_network(after).layers]
    first = ["conv_again1", "bn_again1", "sum_again1", "relu_again1"]
    assert names[names.index("relu") + 1 : -2] == [*first, *(name.replace("1", "2") for name in first)]
    np.testing.assert_array_equal(
        load_network(after).get_layer("conv_again1").get_weights()[0], network.get_layer("conv").get_weights()[0]
    )
    again = grown(after, make_context(), widen=1, deepen=3)
    assert {"conv_again3", "conv_again4", "conv_again5"} <= {layer.name for layer in load_network(again).layers}
    np.testing.assert_array_equal(logits(again), logits(bundle))
    third = load_network(grown(after, make_context(), widen=1, deepen=1))
    assert "conv_again3" in {layer.name for layer in third.layers}


def test_growth_is_trained(color_bundle: Bundle, make_context: Any) -> None:
    """A head that mistakes one color for another learns again; a killed training ends bit for bit alike."""
    network = load_network(color_bundle)
    head = network.get_layer("head_logits")
    head.set_weights([np.roll(value, 1, axis=-1) for value in head.get_weights()])
    bundle, options = color_bundle.with_network(network_bytes(network)), QUICK | {"rate": 0.02, "deepen": 1}
    whole, ctx = make_context(), make_context()
    expected = grown(bundle, whole, **options)
    told = whole.details["grow_back"]
    assert told["top1"] > told["reference"]
    ctx.progress = Stopping("train", 1)
    with pytest.raises(StopError):
        grown(bundle, ctx, **options)
    begun = network_from(ctx.resume / "grown.keras")
    ctx.progress, ctx.details = Silent(), {}
    after = grown(bundle, ctx, **options)
    assert after.read("model.keras") == expected.read("model.keras")
    assert ctx.details["grow_back"] == told
    new = load_network(after)
    assert (begun.get_layer("mix_pw_bn_again1").get_weights()[0] == 0).all()
    assert (new.get_layer("mix_pw_bn_again1").get_weights()[0] != 0).all(), "the new block takes part"


def test_growth_that_helps_nothing_is_told(color_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    grown(color_bundle, ctx, **QUICK, widen=2)
    told = "Growing did not help: validation top-1 was 1.000 and is 1.000. Train longer (epochs)."
    assert told in ctx.details["warnings"]
    ctx = make_context()
    grown(color_bundle, ctx, widen=2, epochs=0)
    assert "warnings" not in ctx.details, "nothing was trained, nothing could help"


def test_impossible_growth_is_refused(color_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(
        RequestError, match=r"no width that can grow by 1.25 \(they are the photo's; they are the logits"
    ):
        grown(color_bundle, make_context(), widen=1.25)
    ctx = make_context()
    deeper = grown(color_bundle, ctx, widen=1.25, deepen=1, epochs=0)
    assert "no width that can grow by 1.25" in ctx.details["warnings"][0]
    assert ctx.details["grow_back"]["widths"] == {}
    assert len(load_network(deeper).layers) > len(load_network(color_bundle).layers)
    photo = keras.Input((24, 24, 3), name="photo")
    flat = keras.Model(photo, layers.Dense(3, name="head_logits")(layers.Flatten()(photo)), name="flat")
    bundle = color_bundle.with_network(network_bytes(flat))
    with pytest.raises(RequestError, match="'flat' has no place for another block"):
        grown(bundle, make_context(), widen=1, deepen=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widen": 1}, "nothing grows"),
        ({"widen": 1, "deepen": 1, "noise": 0.1}, "noise does nothing here: widen is 1"),
        ({"widen": 1, "deepen": 1, "multiple": 4}, "multiple does nothing here"),
        ({"max_drop": 0.1}, "max_drop does nothing here: a network that grows loses nothing"),
    ],
)
def test_idle_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GrowBackConfig(**options)
