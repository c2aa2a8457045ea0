"""Blocks that are removed: which, in what order, how many; and that the last good network comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import DataError, RequestError
from featherlite.models.network import load_network, network_bytes
from featherlite.models.surgery.blocks import residual_blocks
from featherlite.shrink.remove_blocks import RemoveBlocksConfig, remove_blocks
from featherlite.step import Context

from ..conftest import PX
from ..stopping import interrupted
from .cutting import TRAINED, eager, three_blocks

__all__ = ["eager"]

layers = keras.layers
AT_ONCE: dict[str, Any] = {"epochs": 0}
"""Removal alone: nothing trains."""
FADED: dict[str, Any] = TRAINED | {"fade_epochs": 1}


@pytest.fixture(scope="module")
def blocks_bundle(color_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = color_bundle.with_network(network_bytes(three_blocks()))
    return bundle.save(tmp_path_factory.mktemp("bundles") / "three")


@pytest.fixture
def removed(blocks_bundle: Bundle, make_context: Callable[[], Context]) -> Callable[..., Any]:
    """(names of the sums left, facts, the bundle) after the removal that was asked for."""

    def run(bundle: Bundle | None = None, **options: Any) -> tuple[list[str], dict[str, Any], Bundle]:
        ctx = make_context()
        after = remove_blocks(bundle or blocks_bundle, RemoveBlocksConfig(**(AT_ONCE | options)), ctx)
        sums = [block.sum for block in residual_blocks(load_network(after))]
        return sums, ctx.details["remove_blocks"] | {"warnings": ctx.details.get("warnings", [])}, after

    return run


def names(facts: dict[str, Any], key: str = "removed") -> list[list[str]]:
    return [one["blocks"] for one in facts[key]]


# ---- how many ----------------------------------------------------------------------------------------------------


def test_blocks_go_until_accuracy_breaks(removed: Any, blocks_bundle: Bundle) -> None:
    left, facts, after = removed()
    assert left == ["c_sum"]
    assert names(facts) == [["a_sum"], ["b_sum"]]
    assert names(facts, "given_back") == [["c_sum"]]
    assert facts["ended"].startswith("accuracy broke: validation top-1 fell from 1.000 to 0.333, by more than max_drop")
    assert "c_sum given back" in facts["warnings"][0]
    assert facts["reference"] == facts["removed"][1]["top1"] == 1.0
    before, now = load_network(blocks_bundle), load_network(after)
    assert facts["parameters"] == [before.count_params(), now.count_params()]
    assert before.count_params() - now.count_params() == 72 + 256
    assert facts["activation_bytes"] == [3 * 1152, PX * PX * 3 + 1152]
    for name in ("stem", "c_conv", "head_logits"):
        for old, new in zip(before.get_layer(name).get_weights(), now.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_even_with_leave_to_lose_all_it_stops_at_guessing(removed: Any) -> None:
    left, facts, _ = removed(max_drop=1.0)
    assert left == ["c_sum"]
    assert (
        facts["ended"] == "accuracy broke: validation top-1 fell from 1.000 to 0.333, no better than guessing (0.333)"
    )


def test_count_and_parameters_end_it(removed: Any, blocks_bundle: Bundle) -> None:
    left, facts, _ = removed(count=1)
    assert (left, facts["ended"]) == (["b_sum", "c_sum"], "count = 1 is reached")
    target = load_network(blocks_bundle).count_params() - 1
    left, facts, _ = removed(parameters=target)
    assert left == ["b_sum", "c_sum"]
    assert facts["ended"].endswith(f"at most {target:,} were asked for")
    left, facts, after = removed(parameters=10_000)
    assert len(left) == 3
    assert facts["warnings"] == [f"No block was removed: {facts['ended']}."]
    assert after.read("model.keras") == blocks_bundle.read("model.keras")


def test_less_than_was_asked_for_is_told(removed: Any) -> None:
    _, facts, _ = removed(count=9, misses=9)
    assert facts["ended"] == "no block is left that may be removed"
    assert facts["warnings"][-1].startswith("Less was removed than was asked for: no block is left")


def test_blocks_go_together(removed: Any) -> None:
    assert names(removed(count=2)[1]) == [["a_sum"], ["b_sum"]]
    assert names(removed(count=2, together=2)[1]) == [["a_sum", "b_sum"]]
    assert names(removed(count=1, together=2)[1]) == [["a_sum"]], "not more than were asked for"


def test_what_broke_accuracy_is_left_and_the_next_tried(removed: Any) -> None:
    left, facts, _ = removed(order="end_first")
    assert len(left) == 3
    assert facts["warnings"][-1].startswith("No block was removed: accuracy broke")
    left, facts, _ = removed(order="end_first", misses=1)
    assert left == ["c_sum"]
    assert (names(facts), names(facts, "given_back")) == ([["b_sum"], ["a_sum"]], [["c_sum"]])
    assert facts["ended"] == "no block is left that may be removed"


def test_of_blocks_that_break_accuracy_together_some_may_go_alone(removed: Any) -> None:
    left, facts, _ = removed(order="end_first", together=2, misses=2)
    assert names(facts, "given_back") == [["c_sum", "b_sum"], ["c_sum"]]
    assert names(facts) == [["b_sum"], ["a_sum"]]
    assert left == ["c_sum"]


def test_a_second_try_takes_half_as_many_as_the_first_took(removed: Any) -> None:
    """Of the four that may go together no more than two were asked for."""
    _, facts, _ = removed(order="end_first", together=4, count=2, misses=2)
    assert names(facts, "given_back") == [["c_sum", "b_sum"], ["c_sum"]]
    assert names(facts) == [["b_sum"], ["a_sum"]]


# ---- which -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "a_sum"),
        ({"order": "harm"}, "a_sum"),
        ({"order": "cost"}, "b_sum"),
        ({"order": "cost", "cost": "macs"}, "a_sum"),
        ({"order": "cost", "cost": "arena"}, "a_sum"),
        ({"blocks": ("b_sum", "a_sum")}, "b_sum"),
    ],
)
def test_what_is_asked_for_goes_first(options: dict[str, Any], first: str, removed: Any) -> None:
    assert names(removed(count=1, **options)[1]) == [[first]]


def test_harm_is_measured_one_block_at_a_time(removed: Any) -> None:
    ranking = {one["block"]: one for one in removed(count=1)[1]["removed"][0]["ranking"]}
    assert ranking["a_sum"]["loss"] == ranking["a_sum"]["top1"] == 0.0
    assert 0 < ranking["b_sum"]["loss"] < 0.1
    assert ranking["c_sum"]["top1"] == pytest.approx(2 / 3)
    assert ranking["c_sum"]["loss"] > 0.5
    assert {name: one["parameters"] for name, one in ranking.items()} == {"a_sum": 72, "b_sum": 256, "c_sum": 64}
    assert {name: one["macs"] for name, one in ranking.items()} == {"a_sum": 72 * 144, "b_sum": 9216, "c_sum": 2304}
    assert ranking["a_sum"]["arena"] is None, "nobody asked"
    asked = removed(count=1, order="cost", cost="arena")[1]["removed"][0]["ranking"]
    arena = {one["block"]: one["arena"] for one in asked}
    assert arena["a_sum"] == 3 * 1152 - (PX * PX * 3 + 1152)
    assert arena["c_sum"] == 0
    fewer = {one["block"]: one for one in removed(count=1, photos=3)[1]["removed"][0]["ranking"]}
    assert fewer["c_sum"]["loss"] != ranking["c_sum"]["loss"]


def test_harm_is_asked_of_calibration_photos_where_there_are_some(
    blocks_bundle: Bundle, removed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import featherlite.data.photos as photos

    rows = [
        (path, sha256, label, group, "calibration" if split == "train" and path.endswith(("0.png", "1.png")) else split)
        for path, sha256, label, group, split in read_splits(blocks_bundle).rows()
    ]
    bundle = blocks_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    asked, load = [], photos.load_photos
    monkeypatch.setattr(photos, "load_photos", lambda b, split, *rest: asked.append(split) or load(b, split, *rest))
    on_calibration = removed(bundle, count=1)[1]["removed"][0]["ranking"]
    on_train = removed(count=1)[1]["removed"][0]["ranking"]
    assert [one["loss"] for one in on_calibration] != [one["loss"] for one in on_train]
    assert set(asked) == {"train", "val", "calibration"}, "the test split is never read"


# ---- fade and recovery -------------------------------------------------------------------------------------------


def without_validation(bundle: Bundle) -> Bundle:
    """Its validation photos join those to train on."""
    rows = [(*row[:4], "train" if row[4] == "val" else row[4]) for row in read_splits(bundle).rows()]
    return bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})


def test_every_setting_of_the_fade_changes_what_comes_out(removed: Any, blocks_bundle: Bundle) -> None:
    bundle = without_validation(blocks_bundle)  # the last epoch is kept, whatever it is worth

    def result(**options: Any) -> bytes:
        after = removed(bundle, blocks=("b_sum",), count=1, max_drop=1.0, **(FADED | {"epochs": 0} | options))[2]
        return bytes(after.read("model.keras"))

    results = [
        result(fade="anneal"),
        result(fade="anneal", fade_epochs=2),
        result(fade="penalty"),
        result(fade="penalty", fade_penalty=50.0),
    ]
    assert len(set(results)) == len(results)


def test_a_removal_goes_through_fade_and_recovery(removed: Any, blocks_bundle: Bundle) -> None:
    slowly = FADED | {"fade": "anneal", "fade_epochs": 8, "rate": 0.05}
    _, facts, after = removed(count=1, order="end_first", max_drop=1.0, **slowly)
    (one,) = facts["removed"] or facts["given_back"]
    assert one["blocks"] == ["c_sum"]
    assert one["top1_cut"] == pytest.approx(1 / 3)
    assert one["top1_faded"] > one["top1_cut"], "while its gate closes the others learn to do without it"
    assert one["top1"] >= one["top1_faded"], "no stage ends below where it began"
    assert after.read("labels.json") == blocks_bundle.read("labels.json")


@pytest.mark.parametrize("after", [pytest.param(3, marks=pytest.mark.slow), 7])
def test_killed_inside_a_recovery_it_ends_alike(after: int, blocks_bundle: Bundle, make_context: Any) -> None:
    """Two batches an epoch: killed in the fade's second epoch, and in the last stage of recovery."""
    options = FADED | {"fade": "anneal", "fade_epochs": 2, "blocks": ("b_sum",), "max_drop": 1.0}
    config = RemoveBlocksConfig(**options)
    _, told, _ = interrupted(make_context, lambda ctx: remove_blocks(blocks_bundle, config, ctx), "train", after)
    assert names(told["remove_blocks"]) == [["b_sum"]]


# ---- what cannot be ----------------------------------------------------------------------------------------------


def test_a_graph_without_a_removable_block_is_refused(color_bundle: Bundle, removed: Any) -> None:
    with pytest.raises(RequestError, match=r"'colors' has no residual block .* no sum with a shortcut") as error:
        removed(color_bundle)
    assert "cut_tail" in error.value.hint


def test_blocks_that_are_not_there_or_may_not_go_are_refused(color_bundle: Bundle, removed: Any) -> None:
    with pytest.raises(RequestError, match="no residual block 'b_sun'") as error:
        removed(blocks=("b_sun",))
    assert "b_sum" in error.value.hint
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(4, 1, name="stem")(photo)
    x = layers.Add(name="whole")([x, layers.Conv2D(4, 1, name="inner")(x)])
    x = layers.Add(name="wider")([layers.Conv2D(6, 1, name="shortcut")(x), layers.Conv2D(6, 3, padding="same")(x)])
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(photo, layers.Dense(3, name="head_logits")(x))
    bundle = color_bundle.with_network(network_bytes(network))
    with pytest.raises(RequestError, match=r"'wider' cannot be removed: .* channels change from 4 to 6") as error:
        removed(bundle, blocks=("wider",))
    assert error.value.hint == "These can: whole."
    assert removed(bundle, max_drop=1.0)[1]["kept_whole"].keys() == {"wider"}
    only_wider = removed(bundle, blocks=("whole",), max_drop=1.0)[2]
    with pytest.raises(RequestError, match=r"no residual block that may be removed \(wider: .* from 4 to 6\)"):
        removed(only_wider)


def test_without_validation_photos_an_end_must_be_given(blocks_bundle: Bundle, removed: Any) -> None:
    bundle = without_validation(blocks_bundle)
    with pytest.raises(RequestError, match="Without validation photos nothing tells"):
        removed(bundle)
    assert removed(bundle, count=3)[0] == []


def test_without_training_photos_nothing_can_be_ranked_by_harm(blocks_bundle: Bundle, removed: Any) -> None:
    rows = [row for row in read_splits(blocks_bundle).rows() if row[4] != "train"]
    untrained = blocks_bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    with pytest.raises(DataError, match="no photos to rank blocks by"):
        removed(untrained)
    _, facts, _ = removed(untrained, order="cost", count=1)
    assert names(facts) == [["b_sum"]], "what a block saves hangs on no photo"
    assert facts["removed"][0]["ranking"][0]["loss"] is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fade_epochs": 3}, "fade_epochs does nothing"),
        ({"fade": "anneal", "fade_penalty": 3.0}, "fade_penalty does nothing with fade = 'anneal'"),
        ({"order": "harm", "cost": "macs"}, "cost does nothing with order = 'harm'"),
        ({"blocks": ("a",), "order": "harm"}, "order, cost and photos do nothing"),
        ({"blocks": ("a",), "photos": 3}, "order, cost and photos do nothing"),
        ({"blocks": ("a", "b", "a")}, "names a block twice"),
        ({"fade": "penalty", "mixup": 0.2}, "set mixup and cutmix to 0"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RemoveBlocksConfig(**options)
    RemoveBlocksConfig()
