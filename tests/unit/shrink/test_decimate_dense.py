"""Dense layers taken down step by step: together, to the last step that holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import RequestError
from featherlite.models.network import load_network
from featherlite.shrink.recovery import Ward

from .dense_networks import EAGER, STILL, bundle_of, dense_network, interrupted, run

NAMES = ("head_dense1", "head_dense2")


@pytest.fixture(scope="module")
def dense_bundle(color_bundle: Bundle) -> Bundle:
    """Two hidden layers of 32 and 16 units, of which three carry the colors in each."""
    return bundle_of(color_bundle, dense_network(32, 16))


def units(bundle: Bundle) -> tuple[int, ...]:
    return tuple(load_network(bundle).get_layer(name).units for name in NAMES)


def test_it_goes_down_until_accuracy_breaks(dense_bundle: Bundle, make_context: Any) -> None:
    """Three units carry three colors: two of them and the biases can still tell all three, one cannot."""
    ctx = make_context()
    small = run("decimate_dense", dense_bundle, ctx, min_units=1, max_drop=0.1, **STILL)
    told = ctx.details["decimate_dense"]
    assert units(small) == (4, 2)
    assert [tuple(one["units"].values()) for one in told["steps"]] == [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    assert told["broke"]
    assert told["taken"] == 3
    assert told["steps"][-1]["top1"] < told["steps"][0]["top1"] - 0.1
    parameters = [one["parameters"] for one in told["steps"]]
    assert parameters == sorted(parameters, reverse=True)
    assert "is kept" in ctx.details["warnings"][-1]


def test_steps_are_as_large_and_as_many_as_asked(dense_bundle: Bundle, make_context: Any) -> None:
    def after(**settings: Any) -> tuple[int, ...]:
        return units(run("decimate_dense", dense_bundle, make_context(), max_drop=1, **STILL | settings))

    assert after(max_steps=1, factor=0.75) == (24, 12)
    assert after(min_units=6) == (6, 6), "each stops there by itself"
    assert after(layers=["head_dense2"], max_steps=2, min_units=1) == (32, 4)
    assert after(factor=0.99, max_steps=1) == (31, 15), "a step always goes down"


def test_a_first_step_that_breaks_changes_nothing(dense_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    same = run("decimate_dense", dense_bundle, ctx, factor=0.05, min_units=1, max_drop=0.1, **STILL)
    assert same.read("model.keras") == dense_bundle.read("model.keras")
    assert "the network stays as it came" in ctx.details["warnings"][-1]


def test_the_layers_start_as_asked(dense_bundle: Bundle, make_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ward, "lost", lambda *_: "")  # begun anew and untrained it knows nothing
    carried, anew, by_size = (
        load_network(run("decimate_dense", dense_bundle, make_context(), max_steps=1, max_drop=1, **STILL | more))
        for more in ({}, {"start": "anew"}, {"score": "magnitude"})
    )
    old = load_network(dense_bundle).get_layer(NAMES[0]).get_weights()[0]
    assert np.isin(carried.get_layer(NAMES[0]).get_weights()[0], old).all()
    assert not np.isin(anew.get_layer(NAMES[0]).get_weights()[0], old).any()
    kernels = [one.get_layer(NAMES[1]).get_weights()[0] for one in (carried, by_size)]
    assert (kernels[0] != kernels[1]).any()


def test_requests_that_cannot_be_met(color_bundle: Bundle, dense_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(RequestError, match=r"None of the layers head_dense1, head_dense2 has more than 32 units"):
        run("decimate_dense", dense_bundle, make_context(), min_units=32)
    with pytest.raises(RequestError, match=r"no dense layer 'head_dens1'.*Did you mean 'head_dense"):
        run("decimate_dense", dense_bundle, make_context(), layers=["head_dens1"])
    with pytest.raises(RequestError, match=r"no hidden dense layer.*head=dense"):
        run("decimate_dense", color_bundle, make_context())


def test_without_validation_photos_an_end_must_be_given(dense_bundle: Bundle, make_context: Any) -> None:
    rows = [(*row[:4], "train" if row[4] == "val" else row[4]) for row in read_splits(dense_bundle).rows()]
    bundle = dense_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    with pytest.raises(RequestError, match="Without validation photos nothing tells how far"):
        run("decimate_dense", bundle, make_context(), **STILL)
    assert units(run("decimate_dense", bundle, make_context(), max_steps=1, max_drop=1, **STILL)) == (16, 8)
    far = units(run("decimate_dense", bundle, make_context(), max_steps=20, min_units=4, max_drop=1, **STILL))
    assert far == (4, 4), "any number says how far"


@pytest.mark.slow
def test_an_interrupted_one_ends_alike(dense_bundle: Bundle, make_context: Any) -> None:
    """Stopped in the second step down: the first is read back."""

    def work(ctx: Any) -> Bundle:
        settings = EAGER | {"epochs": 0, "start": "anew", "max_steps": 2, "max_drop": 1}
        return run("decimate_dense", dense_bundle, ctx, **settings)

    _, told = interrupted(make_context, 9, work)
    assert len(told["decimate_dense"]["steps"]) == 3, "as it came, and two steps down"
