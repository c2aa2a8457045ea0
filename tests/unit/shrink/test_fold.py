"""The step `fold`: fewer layers, the same answers, and what stays is said."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.models.network import load_network, network_bytes
from featherlite.shrink.fold import FoldConfig, fold

layers = keras.layers
PX = 24


def network() -> Any:
    """A BatchNorm that folds, one that cannot, a constant, two linear layers in a row, and dropout."""
    keras.utils.set_random_seed(4)
    x = photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0, name="relu")(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.BatchNormalization(name="stays")(x)
    x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = layers.Rescaling(0.5, name="half")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(layers.ReLU(name="last")(x))
    x = layers.Dropout(0.2, name="head_dropout")(x)
    x = layers.Dense(16, name="head_wide")(x)
    made = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="to_fold")
    random = np.random.default_rng(1)
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2, np.shape(weight)) for weight in layer.get_weights()])
    return made


@pytest.fixture(scope="module")
def bundle(color_bundle: Bundle) -> Bundle:
    return color_bundle.with_network(network_bytes(network()))


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        ((), ["stem_bn", "half", "head_dropout", "head_logits"]),
        (("training_layers",), ["stem_bn", "half", "head_logits"]),
        (("batchnorm",), ["half", "head_dropout", "head_logits"]),
        (("constants",), ["stem_bn", "head_dropout"]),
    ],
)
def test_each_setting_folds_its_own(off: tuple[str, ...], gone: list[str], bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    folded = fold(bundle, FoldConfig(**dict.fromkeys(off, False)), ctx)
    before, after = load_network(bundle), load_network(folded)
    assert ctx.details["fold"]["gone"] == gone
    photos = np.random.default_rng(7).uniform(-1, 1, (4, PX, PX, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(after(photos)), np.asarray(before(photos)), rtol=1e-4, atol=1e-4)
    assert ctx.details["fold"]["largest_difference"] < 1e-4
    assert [label.name for label in folded.labels] == [label.name for label in bundle.labels]


def test_what_stays_is_said_and_the_bytes_repeat(bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    folded = fold(bundle, FoldConfig(), ctx)
    assert list(ctx.details["fold"]["batchnorm_left"]) == ["stays"]
    assert "1 BatchNorm layers stay: 'stays'" in ctx.details["warnings"][0]
    counts = ctx.details["parameters"]
    assert counts["after"] < counts["before"]
    keras.utils.set_random_seed(99)
    assert fold(bundle, FoldConfig(), make_context()).read("model.keras") == folded.read("model.keras")


def test_nothing_to_fold_is_said(color_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    assert fold(color_bundle, FoldConfig(), ctx) is color_bundle
    assert "nothing to fold" in ctx.details["warnings"][0]


def test_artefacts_of_the_former_network_go(bundle: Bundle, make_context: Any) -> None:
    with_artefact = bundle.with_files({"exports/int8/model.tflite": b"stale"})
    assert with_artefact.exports == ("int8",)
    assert fold(with_artefact, FoldConfig(), make_context()).exports == ()


def test_what_was_trained_for_int8_stays_as_it_is(bundle: Bundle, make_context: Any) -> None:
    """Dropping its dropout alone would have cost the ranges that it was trained in."""
    trained, ctx = bundle.with_json("quantization.json", {}), make_context()
    assert fold(trained, FoldConfig(), ctx) is trained
    assert "trained for int8" in ctx.details["warnings"][0]


def test_a_fold_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to do"):
        FoldConfig(training_layers=False, batchnorm=False, constants=False)
