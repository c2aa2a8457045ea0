"""A narrow layer before a dense one: where it saves, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.models.network import load_network

from .dense_networks import EAGER, QUICK, STILL, bundle_of, cosine_network, dense_network, difference, interrupted, run


@pytest.fixture(scope="module")
def dense_bundle(color_bundle: Bundle) -> Bundle:
    """Hidden layers of 40 and 20 units; three directions carry the colors."""
    return bundle_of(color_bundle, dense_network(40, 20))


def test_it_stands_where_most_is_saved(dense_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    small = run("bottleneck_dense", dense_bundle, ctx, units=3, **STILL)
    told = ctx.details["bottleneck_dense"]
    assert (told["layer"], told["added"]) == ("head_dense2", "head_dense2_bottleneck"), "40 x 20 -> 3"
    assert told["parameters"][0] - told["parameters"][1] == 40 * 20 - 3 * 60
    assert told["taken"]
    assert told["kept_share"] > 0.99, "the colors are three directions"
    assert told["top1"]["after"] == told["top1"]["before"]
    before, after = load_network(dense_bundle), load_network(small)
    assert difference(before, after) < 0.2
    names = [layer.name for layer in after.layers]
    assert names[names.index("head_dense2") - 1] == "head_dense2_bottleneck"


def test_it_stands_where_it_is_asked_for(dense_bundle: Bundle, make_context: Any) -> None:
    small = run("bottleneck_dense", dense_bundle, make_context(), layer="head_dense1", units=4, max_drop=1, **STILL)
    assert load_network(small).get_layer("head_dense1_bottleneck").units == 4


@pytest.mark.slow
def test_it_trains_with_the_layer_behind_it_first(dense_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    run("bottleneck_dense", dense_bundle, ctx, units=2, max_drop=1, **QUICK | {"epochs": 0})
    alone = ctx.details["bottleneck_dense"]["recovery"]["alone"]
    assert alone["layers"] == ["head_dense2", "head_dense2_bottleneck"]


def test_a_cosine_head_stays_one(color_bundle: Bundle, make_context: Any) -> None:
    bundle = bundle_of(color_bundle, cosine_network())
    small = load_network(run("bottleneck_dense", bundle, make_context(), units=2, max_drop=1, **STILL))
    lengths = np.linalg.norm(small.get_layer("head_logits").get_weights()[0], axis=0)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-5)
    assert small.get_layer("head_unit").output.shape == (None, 2)


def test_too_much_taken_is_given_back(dense_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    same = run("bottleneck_dense", dense_bundle, ctx, units=1, max_drop=0.1, **STILL)
    assert same.read("model.keras") == dense_bundle.read("model.keras")
    assert "stays as it came" in ctx.details["warnings"][-1]


def test_it_is_refused_where_it_saves_nothing(color_bundle: Bundle, dense_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(
        RequestError, match=r"32 units before 'head_dense2' \(40 x 20\) save nothing: 1120 .*at most 13"
    ):
        run("bottleneck_dense", dense_bundle, make_context())
    with pytest.raises(RequestError, match=r"14 units before 'head_dense2' .* save nothing"):
        run("bottleneck_dense", dense_bundle, make_context(), units=14, layer="head_dense2")
    with pytest.raises(RequestError, match=r"'head_logits' \(8 x 3\).*at most 2"):
        run("bottleneck_dense", color_bundle, make_context(), units=3)
    with pytest.raises(RequestError, match=r"no dense layer 'head_logit'.*Did you mean 'head_logits'\?"):
        run("bottleneck_dense", dense_bundle, make_context(), layer="head_logit")


@pytest.mark.slow
def test_an_interrupted_one_ends_alike(dense_bundle: Bundle, make_context: Any) -> None:
    def work(ctx: Any) -> Bundle:
        return run("bottleneck_dense", dense_bundle, ctx, units=2, max_drop=1, **EAGER)

    interrupted(make_context, 7, work)
