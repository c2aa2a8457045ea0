"""The step: what it trains, what it leaves, and that the artefact computes what was trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.photos import load_photos
from featherlite.errors import BundleError, RequestError
from featherlite.models.heads.cosine import cosine
from featherlite.models.logits import network_logits
from featherlite.models.network import load_network, network_bytes
from featherlite.models.surgery.folding import fold_batchnorm
from featherlite.quantize.correction import correct
from featherlite.quantize.measured import measured_scheme
from featherlite.quantize.points import points
from featherlite.quantize.quantize import QuantizeConfig, quantize
from featherlite.quantize.quantize_aware import QuantizeAwareConfig, quantize_aware
from featherlite.quantize.representative import representative_set
from featherlite.quantize.scheme import read_scheme
from featherlite.quantize.simulation import fake_quantized
from featherlite.runtime.flatbuffer import inspect
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context
from featherlite.training.config import FitConfig
from featherlite.training.teachers.config import TaughtConfig

from ..stopping import interrupted

MakeContext = Callable[[], Context]
L = keras.layers
PX = 24
QUICK: dict[str, Any] = {"epochs": 2, "batch": 12, "rate": 2e-3, "augment": 0, "photos": 12}


def normed_network(activation: str = "relu6") -> Any:
    """Two blocks with BatchNorm that knows photos of noise, and an untrained head."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((PX, PX, 3), name="image")
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = L.Activation(activation, name="stem_act")(L.BatchNormalization(momentum=0.5, name="stem_norm")(x))
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="deep")(x)
    x = L.Activation(activation, name="deep_act")(L.BatchNormalization(momentum=0.5, name="deep_norm")(x))
    x = L.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(inputs, L.Dense(3, name="head_logits")(x), name="normed")
    shown = np.random.default_rng(0).uniform(-1, 1, (32, PX, PX, 3)).astype(np.float32)
    for _ in range(8):
        network(shown, training=True)
    return network


@pytest.fixture(scope="module")
def normed(color_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = color_bundle.with_network(network_bytes(normed_network()))
    return bundle.save(tmp_path_factory.mktemp("normed") / "bundle")


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """A few steps are done sooner than they are compiled."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


Outcome = tuple[Bundle, dict[str, Any]]


@pytest.fixture(scope="module")
def trained(normed: Bundle, make_context: MakeContext) -> Callable[..., Outcome]:
    """The bundle after the step with these keys, and what it recorded; equal keys are trained once."""
    known: dict[str, Outcome] = {}

    def make(**keys: Any) -> Outcome:
        name = repr(sorted(keys.items()))
        if name not in known:
            ctx = make_context()
            known[name] = quantize_aware(normed, QuantizeAwareConfig(**(QUICK | keys)), ctx), ctx.details
        return known[name]

    return make


def test_an_ordinary_folded_network_comes_out_with_its_ranges(
    normed: Bundle, trained: Callable[..., Outcome], color_bundle: Bundle
) -> None:
    bundle, details = trained()
    network, scheme = load_network(bundle), read_scheme(bundle)
    assert [layer.name for layer in network.layers if layer.weights] == ["stem", "deep", "head_logits"]
    assert network.get_layer("stem").use_bias, "it took up its BatchNorm"
    assert scheme is not None
    assert set(scheme.activations) == set(points(network))
    assert (scheme.method, scheme.kernels, scheme.input) == ("trained", "channel", (-1.0, 127 / 128))
    facts = details["quantize_aware"]
    assert facts["trained_top1"] >= facts["rounded_top1"], "the network as it came is kept where no epoch is better"
    assert set(facts["moved"]) == set(scheme.activations)
    assert any(width != 1.0 for width in facts["moved"].values()), "the ranges were learned"
    assert details["representative"]["n"] == 12
    assert "quantization.json" not in normed
    for name in ("labels.json", "preprocess.json", "splits.parquet"):
        assert bundle.read(name) == normed.read(name)


def test_validation_judges_the_rounded_network(trained: Callable[..., Outcome], make_context: MakeContext) -> None:
    bundle, details = trained()
    scheme = read_scheme(bundle)
    assert scheme is not None
    val = load_photos(bundle, "val", make_context())
    logits = network_logits(fake_quantized(load_network(bundle), scheme), val.images)
    assert float((logits.argmax(axis=1) == val.labels).mean()) == details["quantize_aware"]["trained_top1"]


def test_the_artefact_computes_what_was_trained(trained: Callable[..., Outcome], make_context: MakeContext) -> None:
    """`quantize` in LiteRT's reference kernels against the rounded network in float: one step of the logits at most."""
    bundle, _ = trained()
    scheme = read_scheme(bundle)
    assert scheme is not None
    made = quantize(bundle, QuantizeConfig(photos=12), make_context())
    photos = load_photos(bundle, "test", make_context()).images[:]
    logits = network_logits(fake_quantized(load_network(bundle), scheme), photos)
    answers = open_runtime("litert_reference", made.read("exports/int8/model.tflite")).run(photos)
    low, high = scheme.activations["head_logits"]
    off = np.rint(np.abs(answers - logits) / ((high - low) / 255))
    assert len(photos) == 24
    assert off.max() <= 1
    assert (answers.argmax(axis=1) == logits.argmax(axis=1)).mean() > 0.9
    document = made.read_json("exports/int8/export.json")
    assert (document["output"]["scale"], document["ranges"]) == (pytest.approx((high - low) / 255, rel=1e-5), "trained")


def test_a_cosine_head_becomes_the_artefact_it_was_trained_for(normed: Bundle, make_context: MakeContext) -> None:
    """L2_NORMALIZATION is one operation with a fixed range, and the scale behind it goes into the next kernel."""
    x = inputs = keras.Input((PX, PX, 3))
    x = L.Conv2D(8, 3, strides=2, activation="relu6", name="stem")(x)
    x = L.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(inputs, cosine(x, 3, dropout=0.1, cosine_scale=16.0))
    ctx = make_context()
    bundle = quantize_aware(normed.with_network(network_bytes(network)), QuantizeAwareConfig(**QUICK), ctx)
    assert "warnings" not in ctx.details, "all of it is rounded"
    scheme = read_scheme(bundle)
    assert scheme is not None
    assert set(scheme.activations) == {"stem", "head_pool", "head_logits"}
    made = quantize(bundle, QuantizeConfig(photos=12), make_context()).read("exports/int8/model.tflite")
    assert [op.name for op in inspect(made).ops][-2:] == ["L2_NORMALIZATION", "FULLY_CONNECTED"]
    photos = load_photos(bundle, "test", make_context()).images[:]
    logits = network_logits(fake_quantized(load_network(bundle), scheme), photos)
    low, high = scheme.activations["head_logits"]
    off = np.abs(open_runtime("litert_reference", made).run(photos) - logits) / ((high - low) / 255)
    # Where a pooled value falls to the other side of a half, the length that all are divided by moves each of them.
    assert (off > 0.5).any(axis=1).sum() <= 2
    assert np.ptp(logits, axis=0).max() > 10 * (high - low) / 255, "the answers differ from photo to photo"


def test_training_mends_what_plain_rounding_breaks(color_bundle: Bundle, make_context: MakeContext) -> None:
    """One channel a hundredth of the others, made up for in the next layer: the same in float, lost in one scale.

    That layer is a dense one: what is lost in a convolution is corrected before training.
    """
    network = load_network(color_bundle)
    mix, head = network.get_layer("mix"), network.get_layer("head_logits")
    (kernel, bias), (dense, shift) = mix.get_weights(), head.get_weights()
    share = np.where(np.arange(8) == 2, 0.01, 1.0).astype(np.float32)
    mix.set_weights([kernel * share[:, None], bias * share])
    head.set_weights([dense / share[:, None], shift])
    ctx = make_context()
    config = QuantizeAwareConfig(kernels="tensor", epochs=8, batch=12, rate=1e-2, augment=0, photos=24)
    quantize_aware(color_bundle.with_network(network_bytes(network)), config, ctx)
    facts = ctx.details["quantize_aware"]
    assert facts["float_top1"] == 1.0
    assert facts["rounded_top1"] < 0.7
    assert facts["trained_top1"] > 0.9


@pytest.mark.parametrize("kernels", ["channel", "tensor"])
def test_the_start_is_corrected_as_plain_quantization_is(
    kernels: Any, normed: Bundle, trained: Callable[..., Outcome], make_context: MakeContext
) -> None:
    """Without an epoch what comes out is the start: on the grid of `correct`, which rounding again does not leave."""
    bundle, details = trained(epochs=0, kernels=kernels)
    expected = fold_batchnorm(load_network(normed))
    plain = expected.get_layer("deep").get_weights()[1]
    photos = representative_set(normed, 12, make_context().seed, make_context()).photos
    assert correct(expected, photos, kernels=kernels) == details["quantize_aware"]["corrected_layers"] == 2
    network, scheme = load_network(bundle), read_scheme(bundle)
    assert scheme is not None
    for name in ("stem", "deep"):
        sides = (one.get_layer(name).get_weights() for one in (network, expected))
        for found, wanted in zip(*sides, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)  # a bias is in whole units of the sums
    assert np.abs(expected.get_layer("deep").get_weights()[1] - plain).max() > 1e-3
    start = measured_scheme(expected, photos, "minmax", kernels=kernels).activations
    for name, limits in scheme.activations.items():
        np.testing.assert_allclose(limits, start[name], atol=0.02, err_msg="ranges are those of the corrected network")


OWN: dict[str, tuple[dict[str, Any], Any]] = {
    "kernels": ({}, "tensor"),
    "ranges": ({"movement": "fixed"}, "mse"),
    "movement": ({}, "moving"),
    "range_pace": ({}, 100.0),
    "range_momentum": ({"movement": "moving"}, 0.5),
    "photos": ({"movement": "fixed"}, 3),
    "epochs": ({}, 1),
    "rate": ({}, 1e-3),
    "ema": ({}, 0.9),
    "head_epochs": ({}, 1),
    "cosine": ({}, "absolute"),
}
"""Each key that is the step's own or has a default of its own, with what it needs and another value."""


@pytest.mark.parametrize("key", OWN)
def test_every_key_changes_the_result(key: str, trained: Callable[..., Outcome]) -> None:
    context, value = OWN[key]
    first, second = (trained(**context), trained(**(context | {key: value})))
    files = ("model.keras", "quantization.json")
    assert [first[0].read(name) for name in files] != [second[0].read(name) for name in files]


def test_the_rate_may_be_left_to_a_search() -> None:
    assert QuantizeAwareConfig(rate="auto").rate == "auto"


@pytest.mark.slow
def test_the_rate_is_searched_for_where_that_is_asked(trained: Callable[..., Outcome]) -> None:
    _, details = trained(rate="auto", epochs=1)
    assert 0 < details["found_rate"] <= 1


def test_a_teacher_is_listened_to(
    normed: Bundle, color_bundle: Bundle, trained: Callable[..., Outcome], make_context: MakeContext
) -> None:
    """Of the float network, say, which knows more than the labels tell."""
    plain, by_itself, by_another = (
        trained(**keys)[0].read("model.keras")
        for keys in ({}, {"teacher": (str(normed.home),)}, {"teacher": (str(color_bundle.home),)})
    )
    assert len({plain, by_itself, by_another}) == 3
    with pytest.raises(RequestError, match="there is no nowhere"):
        quantize_aware(normed, QuantizeAwareConfig(teacher=("nowhere",)), make_context())


def test_no_key_of_its_own_is_left_out() -> None:
    own = set(QuantizeAwareConfig.model_fields) - set(TaughtConfig.model_fields)
    changed = {
        name
        for name, field in FitConfig.model_fields.items()
        if QuantizeAwareConfig.model_fields[name].default != field.default
    }
    assert own | changed | {"cosine"} == set(OWN) | {"mixed_precision"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"movement": "fixed", "range_pace": 3.0}, "range_pace is a setting of movement = 'learned'"),
        ({"range_momentum": 0.5}, "range_momentum is a setting of movement = 'moving'"),
        ({"mixed_precision": True}, "too few digits"),
        ({"mixed_precision": "auto"}, "too few digits"),
        ({"rate": 0}, "greater than 0"),
    ],
)
def test_settings_that_would_do_nothing_or_harm_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        QuantizeAwareConfig(**keys)


@pytest.mark.parametrize("movement", ["learned", "moving"])
def test_an_interrupted_training_ends_alike(movement: str, normed: Bundle, make_context: MakeContext) -> None:
    """Bit for bit, ranges included: stopped in the second epoch. With learned ranges as users run it, compiled."""
    tf.config.run_functions_eagerly(movement == "moving")
    config = QuantizeAwareConfig(**(QUICK | {"movement": movement}))
    whole, _, _ = interrupted(make_context, lambda ctx: quantize_aware(normed, config, ctx), "train all", 2)
    assert "quantization.json" in whole


def test_what_is_not_rounded_within_is_named(normed: Bundle, make_context: MakeContext) -> None:
    x = inputs = keras.Input((PX, PX, 3))
    x = L.Activation("gelu", name="bell")(L.Conv2D(4, 3, strides=4, name="stem")(x))
    x = L.BatchNormalization(name="stays")(x)
    network = keras.Model(inputs, L.Dense(3, name="head_logits")(L.Flatten()(L.ReLU()(x))))
    ctx = make_context()
    bundle = normed.with_network(network_bytes(network))
    result = quantize_aware(bundle, QuantizeAwareConfig(**(QUICK | {"epochs": 1})), ctx)
    first, second = ctx.details["warnings"][:2]
    assert "BatchNorm 'stays' cannot be folded" in first
    assert "What 'bell' compute inside is not rounded" in second
    before, after = (one.get_layer("stays").get_weights() for one in (network, load_network(result)))
    assert all((a == b).all() for a, b in zip(before, after, strict=True)), "its statistics are frozen"


def test_a_damaged_scheme_is_no_crash(trained: Callable[..., Outcome]) -> None:
    bundle = trained()[0].with_json("quantization.json", {"activations": {"stem": [1.0, -1.0]}, "method": "trained"})
    with pytest.raises(BundleError, match=r"quantization\.json"):
        read_scheme(bundle)
