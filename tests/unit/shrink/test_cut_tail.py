"""The end of a network cut off or narrowed: where that may be, what is kept, and that the last good one comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import DataError, RequestError
from featherlite.models.network import load_network, network_bytes
from featherlite.shrink.cut_tail import CutTailConfig, cut_tail
from featherlite.step import Context

from ..stopping import Stopping, interrupted
from .cutting import TRAINED, eager, tailed

__all__ = ["eager"]

AT_ONCE: dict[str, Any] = {"epochs": 0}


@pytest.fixture(scope="module")
def tailed_bundle(color_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = color_bundle.with_network(network_bytes(tailed()))
    return bundle.save(tmp_path_factory.mktemp("bundles") / "tailed")


@pytest.fixture
def shortened(tailed_bundle: Bundle, make_context: Callable[[], Context]) -> Callable[..., Any]:
    """(the network, facts, the bundle) after what was asked for."""

    def run(bundle: Bundle | None = None, **options: Any) -> tuple[Any, dict[str, Any], Bundle]:
        ctx = make_context()
        after = cut_tail(bundle or tailed_bundle, CutTailConfig(**(AT_ONCE | options)), ctx)
        return load_network(after), ctx.details["cut_tail"] | {"warnings": ctx.details.get("warnings", [])}, after

    return run


def whats(facts: dict[str, Any], key: str = "done") -> list[str]:
    return [one["what"] for one in facts[key]]


def test_by_itself_it_halves_the_last_convolution(shortened: Any, tailed_bundle: Bundle) -> None:
    network, facts, after = shortened()
    assert network.get_layer("top").filters == 8
    assert whats(facts) == ["the narrowing to 8 filters"]
    assert facts["done"][0]["fitted"] == ["head_logits"]
    assert facts["done"][0]["top1"] == facts["reference"] == 1.0
    assert facts["parameters"] == [load_network(tailed_bundle).count_params(), network.count_params()]
    kept = network.get_layer("top").get_weights()[0]
    np.testing.assert_array_equal(kept[..., :3], load_network(tailed_bundle).get_layer("top").get_weights()[0][..., :3])
    assert after.read("labels.json") == tailed_bundle.read("labels.json")


def test_too_narrow_gives_back_the_last_good_one(shortened: Any) -> None:
    network, facts, _ = shortened(filters=1, rounds=4)
    assert network.get_layer("top").filters == 8
    assert whats(facts) == ["the narrowing to 8 filters"]
    assert whats(facts, "given_back") == ["the narrowing to 1 filters"]
    assert "the narrowing to 1 filters was given back: validation top-1 fell" in facts["warnings"][0]
    network, facts, _ = shortened(filters=1)
    assert network.get_layer("top").filters == 16
    assert facts["warnings"][-1].startswith("The tail stays as it was: validation top-1 fell from 1.000")


def test_blocks_are_cut_off_one_by_one(shortened: Any) -> None:
    network, facts, _ = shortened(blocks=2)
    assert whats(facts) == ["the cut behind 'c_sum'", "the cut behind 'a_sum'"]
    names = {layer.name for layer in network.layers}
    assert "a_conv" in names
    assert not names & {"c_conv", "b_conv"}
    assert network.get_layer("top").filters == 16, "where a cut is asked for, all filters stay"
    network, facts, _ = shortened(blocks=1, filters=8, max_drop=1.0)
    assert whats(facts) == ["the cut behind 'c_sum'", "the narrowing to 8 filters"]


def test_without_the_top_the_head_follows_the_cut(shortened: Any) -> None:
    network, facts, _ = shortened(after="stem_relu", keep_top=False)
    assert [layer.name for layer in network.layers] == ["photo", "stem", "stem_relu", "head_pool", "head_logits"]
    assert facts["done"][0]["fitted"] == ["head_logits"]
    assert facts["done"][0]["top1"] == 1.0
    network, facts, _ = shortened(after="stem_relu", keep_top=False, photos=1)
    assert "top" in {layer.name for layer in network.layers}, "one photo is too few to fit the head to"
    assert whats(facts, "given_back") == ["the cut behind 'stem_relu'"]
    assert "top" in {layer.name for layer in shortened(after="stem_relu")[0].layers}


def test_which_filters_stay_is_as_asked(shortened: Any, tailed_bundle: Bundle) -> None:
    before = load_network(tailed_bundle).get_layer("top").get_weights()[0]
    by = shortened(by="magnitude", max_drop=1.0)[0].get_layer("top").get_weights()[0]
    np.testing.assert_array_equal(by, before[..., 8:])


def test_killed_inside_a_recovery_it_ends_alike(tailed_bundle: Bundle, make_context: Any) -> None:
    """Two batches an epoch: killed in the second stage of the cut's recovery, before the narrowing."""
    config = CutTailConfig(**TRAINED | {"blocks": 1, "filters": 8, "max_drop": 1.0})
    _, told, _ = interrupted(make_context, lambda ctx: cut_tail(tailed_bundle, config, ctx), "train", 3)
    facts = told["cut_tail"]
    assert len(facts["done"]) == 2
    assert facts["done"][0]["top1"] >= facts["done"][0]["top1_fitted"]


def test_what_cannot_be_is_refused(shortened: Any, color_bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="no convolution of its own before its head") as error:
        shortened(color_bundle)
    assert "prune_channels" in error.value.hint
    with pytest.raises(RequestError, match="cannot be cut behind 'a_conv'") as error:
        shortened(after="a_conv")
    assert error.value.hint == "It can behind: stem_relu, a_sum, c_sum, b_norm."
    with pytest.raises(RequestError, match="blocks is 3, and 'tailed' has 2"):
        shortened(blocks=3)
    with pytest.raises(RequestError, match="'top' has 16 filters, and 16 are to stay"):
        shortened(filters=16)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"blocks": 1, "filters": 16}, "'top' has 16 filters, and 16 are to stay"),
        ({"blocks": 1, "filters": 4, "keep_top": False}, "no convolution of its own before its head"),
    ],
)
def test_filters_that_cannot_be_are_refused_before_anything_is_trained(
    asked: dict[str, Any], words: str, tailed_bundle: Bundle, make_context: Callable[[], Context]
) -> None:
    ctx = make_context()
    ctx.progress = Stopping("train", 1)
    with pytest.raises(RequestError, match=words):
        cut_tail(tailed_bundle, CutTailConfig(**TRAINED | asked), ctx)
    assert not list(ctx.resume.iterdir())


def test_without_training_photos_nothing_can_be_fitted(tailed_bundle: Bundle, shortened: Any) -> None:
    rows = [row for row in read_splits(tailed_bundle).rows() if row[4] != "train"]
    with pytest.raises(DataError, match="no photos to fit layers to"):
        shortened(tailed_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"after": "a", "blocks": 1}, "give one of them"),
        ({"keep_top": False}, "keep_top does nothing without a cut"),
        ({"after": "a", "rounds": 2}, "rounds and by do nothing"),
        ({"blocks": 1, "by": "magnitude"}, "rounds and by do nothing"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CutTailConfig(**options)
    CutTailConfig()
