"""A hidden dense layer made narrower: the units that matter stay, and only what changed trains at first."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.models.network import load_network, network_from
from featherlite.models.surgery.dense import hidden_named
from featherlite.shrink.recovery import Ward
from featherlite.shrink.shrink_dense import ShrinkDenseConfig
from featherlite.shrink.units import UnitsConfig, importance

from .dense_networks import (
    CARRIERS,
    CONSTANT,
    EAGER,
    QUICK,
    STILL,
    bundle_of,
    cosine_network,
    dense_network,
    interrupted,
    run,
)


@pytest.fixture(scope="module")
def dense_bundle(color_bundle: Bundle) -> Bundle:
    """One hidden layer of 16 units: three carry the colors, one is constant and loud, the rest whisper."""
    return bundle_of(color_bundle, dense_network(16))


def units_kept(before: Bundle, after: Bundle) -> list[int]:
    """Which of the former units the narrowed layer holds, by their kernels' columns."""
    old = load_network(before).get_layer("head_dense1").get_weights()[0]
    new = load_network(after).get_layer("head_dense1").get_weights()[0]
    return [int(np.flatnonzero((old == column[:, None]).all(axis=0))[0]) for column in new.T]


def test_the_units_that_matter_stay(dense_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    small = run("shrink_dense", dense_bundle, ctx, units=3, **STILL)
    assert units_kept(dense_bundle, small) == list(CARRIERS)
    told = ctx.details["shrink_dense"]
    assert told["units"] == [16, 3]
    assert told["taken"]
    assert told["top1"]["after"] == told["top1"]["cut"] == told["top1"]["before"]
    assert told["kept_share"] > 0.99
    assert told["parameters"][0] - told["parameters"][1] == 13 * (8 + 4 + 3)
    assert load_network(small).get_layer("head_logits").get_weights()[0].shape == (3, 3)


def test_what_is_constant_in_a_unit_goes_into_the_bias(dense_bundle: Bundle, make_context: Any) -> None:
    """The loud unit adds (10, 10, 12.5) to the logits: without it the bias has them, less what the whisperers add."""
    small = run("shrink_dense", dense_bundle, make_context(), units=3, **STILL)
    biases = [load_network(one).get_layer("head_logits").get_weights()[1] for one in (dense_bundle, small)]
    np.testing.assert_allclose(biases[1] - biases[0], [10, 10, 12.5], atol=0.02)


def test_a_constant_goes_into_a_batchnorm_where_no_bias_is(color_bundle: Bundle, make_context: Any) -> None:
    bundle = bundle_of(color_bundle, dense_network(16, 12))
    before = load_network(bundle)
    kernel = before.get_layer("head_dense2").get_weights()[0]
    kernel[CONSTANT] = 2.0
    before.get_layer("head_dense2").set_weights([kernel])
    norm = before.get_layer("head_dense2_bn")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, beta, mean + 10.0, variance])
    small = run("shrink_dense", bundle_of(bundle, before), make_context(), layer="head_dense1", units=3, **STILL)
    mean_after = load_network(small).get_layer("head_dense2_bn").get_weights()[2]
    np.testing.assert_allclose(mean_after, 0.0, atol=0.05)


def test_size_speaks_where_it_is_asked(dense_bundle: Bundle, make_context: Any) -> None:
    """By magnitude the loud unit is the largest; no photo tells that it says nothing."""
    model = load_network(dense_bundle)
    hidden = hidden_named(model, "head_dense1")
    means, scores = importance(model, hidden, None, UnitsConfig(score="magnitude"), 0)
    outgoing = model.get_layer("head_logits").get_weights()[0]
    np.testing.assert_allclose(scores, np.linalg.norm(outgoing, axis=1), rtol=1e-5)
    assert not means
    small = run("shrink_dense", dense_bundle, make_context(), units=4, score="magnitude", max_drop=1, **STILL)
    assert units_kept(dense_bundle, small) == sorted([*CARRIERS, CONSTANT])


def test_importance_by_hand(color_bundle: Bundle) -> None:
    """Deviation times outgoing length; the root mean square where the reader has no place for a constant."""
    photo = keras.Input((2, 1, 3), name="photo")
    x = keras.layers.Flatten()(photo)
    x = keras.layers.Dense(2, name="inner", use_bias=False)(x)
    for use_bias, wanted in ((True, [1.0 * 5, 0.0]), (False, [np.sqrt(2.0) * 5, 3.0 * 2])):
        model = keras.Model(photo, keras.layers.Dense(2, name="outer", use_bias=use_bias)(x))
        kernel = np.zeros((6, 2))
        kernel[0, 0], kernel[1, 1] = 1.0, 3.0
        model.get_layer("inner").set_weights([kernel])
        outer = np.array([[3.0, 4.0], [0.0, 2.0]])
        model.get_layer("outer").set_weights([outer, np.zeros(2)] if use_bias else [outer])
        images = np.zeros((2, 2, 1, 3), np.uint8)
        images[0, 0, 0] = 128, 255, 128  # unit 0: 0 and 2 (as -1 and 1 around its mean); unit 1: 3 x 127/128 always
        images[1, 0, 0] = 128, 255, 128
        images[:, 0, 0, 0] = 0, 128
        kernel[0, 0] = -2.0
        model.get_layer("inner").set_weights([kernel])
        means, scores = importance(model, hidden_named(model, "inner"), images, UnitsConfig(), 0)
        np.testing.assert_allclose(scores, np.array(wanted) * [1, 1 if use_bias else 127 / 128], atol=1e-4)
        assert ("outer" in means) == use_bias
    assert color_bundle


def test_so_many_photos_are_looked_at(dense_bundle: Bundle, make_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from featherlite.shrink import units

    seen: list[int] = []
    look = units._moments

    def counted(network: Any, hidden: Any, images: Any, rows: Any) -> Any:
        seen.append(len(rows))
        assert (np.diff(rows) > 0).all()
        return look(network, hidden, images, rows)

    monkeypatch.setattr(units, "_moments", counted)
    run("shrink_dense", dense_bundle, make_context(), units=3, score_photos=5, **STILL)
    run("shrink_dense", dense_bundle, make_context(), units=3, **STILL)
    assert seen == [5, 24]


def test_it_may_start_anew(dense_bundle: Bundle, make_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ward, "lost", lambda *_: "")  # untrained it knows nothing
    ctx = make_context()
    anew = run("shrink_dense", dense_bundle, ctx, units=3, start="anew", max_drop=1, **STILL)
    again = run("shrink_dense", dense_bundle, make_context(), units=3, start="anew", max_drop=1, **STILL)
    assert anew.read("model.keras") == again.read("model.keras"), "drawn from the seed"
    old, new = (load_network(one) for one in (dense_bundle, anew))
    assert not np.isin(
        new.get_layer("head_dense1").get_weights()[0], old.get_layer("head_dense1").get_weights()[0]
    ).any()
    np.testing.assert_array_equal(new.get_layer("stem").get_weights()[0], old.get_layer("stem").get_weights()[0])
    assert ctx.details["shrink_dense"]["start"] == "anew"


def test_what_changed_trains_first_and_alone(dense_bundle: Bundle, make_context: Any) -> None:
    """Begun anew, so that an epoch is surely better than what came."""
    ctx = make_context()
    settings = QUICK | {"changed_epochs": 6, "changed_rate": 0.02, "epochs": 0}
    run("shrink_dense", dense_bundle, ctx, units=4, start="anew", max_drop=1, **settings)
    alone = network_from(ctx.resume / "narrow-alone.keras")
    assert all(layer.trainable for layer in alone.layers), "the flags are given back"
    start = load_network(dense_bundle)
    for name in ("stem", "mix"):
        for old, new in zip(start.get_layer(name).get_weights(), alone.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    told = ctx.details["shrink_dense"]["recovery"]
    assert told["alone"]["layers"] == ["head_dense1", "head_dense1_bn", "head_logits"]
    assert told["stages"] == []
    part = ctx.details["parts"]["narrow-alone"]
    assert [entry["phase"] for entry in part["curve"]] == ["head"] * 6, "on features that are computed once"
    assert part["fit"]["best_epoch"] > 0
    assert 0.01 < max(entry["rate"] for entry in part["curve"]) <= 0.02


@pytest.mark.slow
def test_a_layer_outside_the_head_trains_alone_too(color_bundle: Bundle, make_context: Any) -> None:
    model = dense_network(16)
    plain = keras.models.clone_model(model, clone_function=_without_head)
    plain.set_weights(model.get_weights())
    ctx = make_context()
    run("shrink_dense", bundle_of(color_bundle, plain), ctx, units=4, max_drop=1, **QUICK | {"epochs": 0})
    part = ctx.details["parts"]["narrow-alone"]
    assert [entry["phase"] for entry in part["curve"]] == ["all"]


def _without_head(layer: Any) -> Any:
    config = layer.get_config()
    return type(layer).from_config(config | {"name": config["name"].replace("head_", "top_")})


def test_too_much_taken_is_given_back(dense_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    same = run("shrink_dense", dense_bundle, ctx, units=1, max_drop=0.1, **STILL)
    assert same.read("model.keras") == dense_bundle.read("model.keras")
    assert not ctx.details["shrink_dense"]["taken"]
    assert len(set(ctx.details["shrink_dense"]["parameters"])) == 1, "of what is returned"
    assert "stays as it came" in ctx.details["warnings"][-1]
    assert run("shrink_dense", dense_bundle, make_context(), units=1, max_drop=1, **STILL) is not dense_bundle


def test_the_heaviest_layer_is_taken_by_a_factor(color_bundle: Bundle, make_context: Any) -> None:
    bundle = bundle_of(color_bundle, dense_network(10, 40))
    by_default = load_network(run("shrink_dense", bundle, make_context(), factor=0.25, max_drop=1, **STILL))
    assert (by_default.get_layer("head_dense1").units, by_default.get_layer("head_dense2").units) == (10, 10)
    named = load_network(run("shrink_dense", bundle, make_context(), layer="head_dense1", max_drop=1, **STILL))
    assert (named.get_layer("head_dense1").units, named.get_layer("head_dense2").units) == (5, 40)


def test_requests_that_cannot_be_met(color_bundle: Bundle, dense_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(RequestError, match=r"has 16 units; 16 are to stay.*less than 16"):
        run("shrink_dense", dense_bundle, make_context(), units=16)
    with pytest.raises(RequestError, match=r"no dense layer 'head_dense9'.*'head_dense1'"):
        run("shrink_dense", dense_bundle, make_context(), layer="head_dense9")
    for bundle in (color_bundle, bundle_of(color_bundle, cosine_network())):
        with pytest.raises(RequestError, match=r"no hidden dense layer.*head=dense"):
            run("shrink_dense", bundle, make_context())
    with pytest.raises(ValidationError, match="give one of them"):
        run("shrink_dense", dense_bundle, make_context(), units=4, factor=0.25)


@pytest.mark.parametrize("after", [3, pytest.param(7, marks=pytest.mark.slow)])
def test_an_interrupted_one_ends_alike(after: int, dense_bundle: Bundle, make_context: Any) -> None:
    """In the epochs of the changed layers, and in those of all."""
    settings = EAGER if after > 6 else EAGER | {"epochs": 0}

    def work(ctx: Any) -> Bundle:
        return run("shrink_dense", dense_bundle, ctx, units=4, start="anew", max_drop=1, **settings)

    interrupted(make_context, after, work)


def test_ranking_is_no_setting_of_layers_that_start_anew() -> None:
    for idle in ({"start": "anew", "score": "magnitude"}, {"start": "anew", "score_photos": 9}):
        with pytest.raises(ValidationError, match="does nothing with start = 'anew'"):
            ShrinkDenseConfig(**idle)
    with pytest.raises(ValidationError, match="changed_rate does nothing with changed_epochs = 0"):
        ShrinkDenseConfig(changed_epochs=0, changed_rate=1e-3)
    with pytest.raises(ValidationError, match="score_photos does nothing"):
        ShrinkDenseConfig(score="magnitude", score_photos=9)
