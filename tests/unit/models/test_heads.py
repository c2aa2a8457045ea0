"""Heads, pooling and attention: hand-worked values, every setting's effect, and refusals that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import RequestError
from featherlite.models.build import BuildConfig, build
from featherlite.models.heads import HeadOrder, build_head, check_head, heads, settings_of, without_tflm
from featherlite.models.pooling import FLOOR
from featherlite.step import Context

keras = pytest.importorskip("keras")

LABELS = Bundle().with_labels((Label(name="jay"), Label(name="wren"), Label(name="owl")))


def head(shape: tuple[int, int, int], classes: int = 3, **settings: Any) -> Any:
    """The head alone, as a model from feature map to logits."""
    keras.utils.set_random_seed(1)
    features = keras.Input(shape, name="features")
    return keras.Model(features, build_head(features, classes, HeadOrder(**settings)))


def pooled(feature_map: Any, **settings: Any) -> Any:
    """What the pooling makes of a feature map [n, h, w, channels]: [n, channels]."""
    feature_map = np.asarray(feature_map, np.float32)
    whole = head(feature_map.shape[1:], **settings)
    return np.asarray(keras.Model(whole.input, whole.get_layer("head_pool").output)(feature_map))


def network(**options: Any) -> Any:
    """A convolution and the head that a config asks for: float32 [n, 8, 8, 3] -> [n, 3]."""
    keras.utils.set_random_seed(1)
    photo = keras.Input((8, 8, 3), name="photo")
    features = keras.layers.Conv2D(6, 3, 2, "same", activation="relu", name="conv")(photo)
    return keras.Model(photo, build_head(features, 3, BuildConfig(**options).head_order()), name="small")


def made(folder: Path, **options: Any) -> tuple[Bundle, Context]:
    ctx = Context(7, folder, folder, folder)
    return build(LABELS, BuildConfig(**{"width": 0.5, "input_px": 32} | options), ctx), ctx


# ---- values ------------------------------------------------------------------------------------------------------


def test_the_generalized_mean_by_hand() -> None:
    """Cubes of 1 and 2 average to 4.5; a channel of 6 stays 6; nothing and less than nothing count as the floor."""
    feature_map = [[[[1.0, 6.0, 0.0, -5.0]], [[2.0, 6.0, 0.0, -7.0]]]]
    np.testing.assert_allclose(pooled(feature_map, pool="gem"), [[4.5 ** (1 / 3), 6.0, FLOOR, FLOOR]], rtol=1e-5)
    np.testing.assert_allclose(pooled(feature_map, pool="gem", gem_p=1.0)[0, :2], [1.5, 6.0], rtol=1e-5)
    np.testing.assert_allclose(pooled(feature_map)[0], [1.5, 6.0, 0.0, -6.0], rtol=1e-5)


@pytest.mark.parametrize("power", [1.0, 2.5, 3.0, 100.0])
def test_the_generalized_mean_neither_over_nor_underflows(power: float) -> None:
    feature_map = np.random.default_rng(3).uniform(0.0, 1.0, (4, 5, 6, 8)) ** 2 * np.array([1e-2, 1, 60, 5e3] * 2)
    values = np.maximum(feature_map, FLOOR)
    largest = values.max(axis=(1, 2), keepdims=True)
    expected = largest[:, 0, 0] * ((values / largest) ** power).mean(axis=(1, 2)) ** (1 / power)
    np.testing.assert_allclose(pooled(feature_map, pool="gem", gem_p=power), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"pool": "gem", "gem_p": 100.0}, {"head": "cosine"}, {"pool": "gem", "head": "cosine"}]
)
@pytest.mark.parametrize("value", [0.0, -3.0, 1e4])
def test_a_step_on_extreme_features_leaves_numbers(settings: dict[str, Any], value: float) -> None:
    """A layer before the head gets a gradient through it: were it infinite, one step would spoil the weights."""
    inputs = keras.Input((2, 2, 4))
    before = keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones")
    model = keras.Model(inputs, build_head(before(inputs), 3, HeadOrder(**settings)))
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(np.full((2, 2, 2, 4), value, np.float32), np.array([0, 1]))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_the_cosine_by_hand() -> None:
    """Features (3, 4) have the cosines 0.6, 0.8 and 1 with the three columns; their length changes nothing."""
    model = head((1, 1, 2), head="cosine", cosine_scale=10.0)
    model.get_layer("head_logits").set_weights([np.array([[1, 0, 0.6], [0, 1, 0.8]], np.float32)])
    features = np.array([[3.0, 4.0], [300.0, 400.0], [-3.0, -4.0], [0.0, 0.0]], np.float32).reshape(4, 1, 1, 2)
    expected = [[6, 8, 10], [6, 8, 10], [-6, -8, -10], [0, 0, 0]]
    np.testing.assert_allclose(np.asarray(model(features)), expected, atol=1e-5)


def test_columns_of_length_one_from_the_start_and_after_steps() -> None:
    model = head((2, 2, 6), classes=4, head="cosine")

    def lengths() -> Any:
        return np.linalg.norm(model.get_layer("head_logits").get_weights()[0], axis=0)

    np.testing.assert_allclose(lengths(), 1, atol=1e-5)
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(np.random.default_rng(0).random((8, 2, 2, 6), np.float32), np.arange(8) % 4)
    np.testing.assert_allclose(lengths(), 1, atol=1e-5)
    assert np.abs(before[0] - model.get_weights()[0]).max() > 1e-3


def test_spatial_attention_by_hand() -> None:
    """One filter sums the two channels, ReLU keeps what is positive, the score is that less 1: sigmoid(-1) and (2)."""
    model = head((1, 2, 2), attention="spatial", attention_filters=1)
    model.get_layer("head_attention_conv").set_weights([np.ones((1, 1, 2, 1), np.float32)])
    norm = model.get_layer("head_attention_bn")
    norm.set_weights([np.full(1, np.sqrt(1 + norm.epsilon)), np.zeros(1), np.zeros(1), np.ones(1)])
    model.get_layer("head_attention_score").set_weights([np.ones((1, 1, 1, 1)), np.full(1, -1.0)])
    weighed = keras.Model(model.input, model.get_layer("head_attention").output)
    answer = np.asarray(weighed(np.array([[[[1.0, -2.0], [1.0, 2.0]]]], np.float32)))[0, 0]
    low, high = 1 / (1 + np.exp(1.0)), 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(answer, [[low, -2 * low], [high, 2 * high]], rtol=1e-5)


def test_the_dense_head_by_hand() -> None:
    """(1, 2) times the kernel is (3, -1); BatchNorm takes 1 off and halves, ReLU cuts: (1, 0); the logits add up."""
    model = head((1, 1, 2), classes=1, head="dense", head_units=(2,))
    model.get_layer("head_dense1").set_weights([np.array([[1, 1], [1, -1]], np.float32)])
    norm = model.get_layer("head_dense1_bn")
    norm.set_weights([np.ones(2), np.zeros(2), np.ones(2), np.full(2, 4 - norm.epsilon)])
    model.get_layer("head_logits").set_weights([np.array([[5.0], [7.0]], np.float32), np.array([0.5])])
    np.testing.assert_allclose(np.asarray(model(np.array([[[[1.0, 2.0]]]], np.float32))), [[5.5]], rtol=1e-5)


# ---- settings ----------------------------------------------------------------------------------------------------


def test_a_head_is_a_file() -> None:
    import featherlite.models.heads as package

    files = {path.stem for path in Path(str(package.__file__)).parent.glob("[!_]*.py")}
    assert set(heads()) == files == {"plain", "dense", "cosine"}


def test_the_case_studys_head(tmp_path: Path) -> None:
    """Dropout 0.3, attention of 512 channels, dense 512 with BatchNorm, dropout 0.4, logits."""
    from featherlite.models.network import load_network

    bundle, ctx = made(tmp_path, head="dense", attention="spatial", dropout=0.3)
    network = load_network(bundle)
    names = [layer.name for layer in network.layers if layer.name.startswith("head_")]
    attention = ["conv", "bn", "relu", "score", "map"]
    stack = ["head_dense1", "head_dense1_bn", "head_dense1_relu", "head_dense1_dropout", "head_logits"]
    assert names == [
        *(f"head_attention_{one}" for one in attention),
        "head_attention",
        "head_pool",
        "head_dropout",
        *stack,
    ]
    assert (network.get_layer("head_dropout").rate, network.get_layer("head_dense1_dropout").rate) == (0.3, 0.4)
    assert network.get_layer("head_attention_conv").filters == network.get_layer("head_dense1").units == 512
    assert ctx.details["head"] == {
        "head": "dense",
        "pool": "average",
        "attention": "spatial",
        "dropout": 0.3,
        "head_dropout": 0.4,
        "head_units": [512],
        "attention_filters": 512,
        "without_tflm": [],
    }


@pytest.mark.parametrize(
    ("chosen", "key", "value", "layer", "attribute", "expected"),
    [
        ({}, "dropout", 0.6, "head_dropout", "rate", 0.6),
        ({"head": "dense"}, "head_units", (12, 7), "head_dense2", "units", 7),
        ({"head": "dense"}, "head_dropout", 0.1, "head_dense1_dropout", "rate", 0.1),
        ({"head": "cosine"}, "cosine_scale", 5.0, "head_scale", "scale", 5.0),
        ({"pool": "gem"}, "gem_p", 4.0, "head_gem_times_p", "scale", 4.0),
        ({"attention": "spatial"}, "attention_filters", 9, "head_attention_conv", "filters", 9),
    ],
)
def test_every_setting_reaches_its_layer(
    chosen: dict[str, Any], key: str, value: Any, layer: str, attribute: str, expected: Any
) -> None:
    options = chosen | {key: value}
    assert getattr(network(**options).get_layer(layer), attribute) == expected
    assert settings_of(BuildConfig(**options).head_order())[key] == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "cosin"}, "no head 'cosin'. Did you mean 'cosine'"),
        ({"pool": "gen"}, "no pooling 'gen'. Did you mean 'gem'"),
        ({"attention": "spacial"}, "no attention 'spacial'. Did you mean 'spatial'"),
        ({"head_units": [64]}, "head_units is a setting of head 'dense' and does nothing with head 'plain'"),
        ({"head": "cosine", "head_dropout": 0.1}, "head_dropout is a setting of head 'dense'.* with head 'cosine'"),
        ({"cosine_scale": 3}, "Set head to 'cosine', or leave cosine_scale out"),
        ({"gem_p": 4}, "gem_p is a setting of pool 'gem' and does nothing with pool 'average'"),
        ({"attention_filters": 64}, "attention_filters is a setting of attention 'spatial'"),
        ({"head": "dense", "head_units": []}, "head_units is empty"),
        ({"head": "dense", "head_units": [64, 0]}, "greater than or equal to 1"),
        ({"pool": "gem", "gem_p": 0.5}, "greater than or equal to 1"),
    ],
)
def test_wrong_heads_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BuildConfig(**options)


def test_a_setting_that_is_spelled_out_with_its_default_is_no_fault() -> None:
    """A config written out in full, as a run stores it, can be read again."""
    config = BuildConfig(head="cosine", pool="gem", gem_p=5)
    assert BuildConfig.model_validate(config.model_dump(mode="json")) == config


def test_python_gets_the_same_refusals() -> None:
    with pytest.raises(RequestError, match="There is no head 'plan'") as caught:
        check_head(HeadOrder(head="plan"))
    assert caught.value.hint == "Did you mean 'plain'?"
    features = keras.Input((2, 2, 3))
    with pytest.raises(RequestError, match="does nothing with pool 'average'"):
        build_head(features, 2, HeadOrder(gem_p=2))


def test_what_microcontrollers_lack_is_told_before_the_training(tmp_path: Path) -> None:
    _, ctx = made(tmp_path, pool="gem")
    assert ctx.details["head"]["without_tflm"] == ["EXP", "LOG"] == list(without_tflm(HeadOrder(pool="gem")))
    (warning,) = ctx.details["warnings"]
    assert "no int8 kernel for EXP and LOG" in warning
    _, ctx = made(tmp_path, head="cosine", attention="spatial")
    assert "warnings" not in ctx.details
    assert settings_of(HeadOrder(head="cosine"))["cosine_scale"] == 16.0


# ---- what stands in the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"head": "cosine", "pool": "gem", "attention": "spatial"}, {"head": "dense"}])
def test_all_that_a_head_adds_bears_its_name_and_the_seed_fixes_it(options: dict[str, Any]) -> None:
    """Names of bare operations count up in a process unless they are given: two builds would differ in their bytes."""
    from featherlite.models.network import network_bytes, network_from

    first, second = (network_bytes(network(**options)) for _ in range(2))
    assert first == second
    added = [one.name for one in network_from(first).operations if one.name not in ("photo", "conv")]
    assert len(added) > 3
    assert all(name.startswith("head_") for name in added), added


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"head": "cosine"}, (None, 6)),
        ({"head": "dense", "pool": "gem"}, (None, 6)),
        ({"attention": "spatial", "pool": "gem"}, (None, 4, 4, 6)),
    ],
)
def test_the_head_phase_can_train_on_stored_features(options: dict[str, Any], shape: Any) -> None:
    """What neither learns nor draws stays with the backbone; attention learns, so its features are the whole map."""
    from featherlite.preprocess import network_input
    from featherlite.training.features import split_network

    whole = network(**options)
    photos = np.random.default_rng(2).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    split = split_network(whole)
    assert split is not None
    assert split.backbone.output_shape == shape
    expected = np.asarray(whole(network_input(photos)))
    np.testing.assert_allclose(np.asarray(split.head(split.features(photos))), expected, atol=1e-4)
