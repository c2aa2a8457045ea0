"""The step `swap_activation`: block by block, each taught its former output, and stopped at the last good one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.photos import PhotoSet, load_photos
from featherlite.data.splits import Splits, read_splits, write_splits
from featherlite.errors import DataError, RequestError
from featherlite.models.network import load_network, network_bytes
from featherlite.models.surgery.activations import find_activations, swap_activations
from featherlite.models.surgery.squeeze_excite import find_squeeze_excite
from featherlite.models.surgery.stretches import joined, stretches
from featherlite.shrink import matching as matching_room
from featherlite.shrink.matching import Matching, match_stretch
from featherlite.shrink.swap_activation import SwapActivationConfig, swap_activation
from featherlite.training.batchnorm import reestimate

from ..stopping import interrupted

layers = keras.layers
PX = 24
QUICK: dict[str, Any] = {
    "epochs": 0,
    "final_epochs": 0,
    "match_epochs": 1,
    "batch": 12,
    "ema": "none",
    "augment": 0.0,
    "max_drop": 1.0,
}


def network(norm: bool = True) -> Any:
    """Three residual blocks: swish as a layer, as a product, and with a squeeze-excite; dropout within the second."""
    keras.utils.set_random_seed(5)
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.Conv2D(4, 3, strides=4, padding="same", name="stem")(photo)
    for name in "abc":
        y = layers.Conv2D(8, 1, use_bias=not norm, name=f"{name}_wide")(x)
        y = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(y) if norm else y
        if name == "b":
            y = layers.Multiply(name="b_swish")([y, layers.Activation("sigmoid", name="b_sigmoid")(y)])
        else:
            y = layers.Activation("swish", name=f"{name}_swish")(y)
        if name == "c":
            gate = layers.GlobalAveragePooling2D(keepdims=True, name="c_pool")(y)
            gate = layers.Conv2D(2, 1, activation="swish", name="c_squeeze")(gate)
            gate = layers.Conv2D(8, 1, activation="sigmoid", name="c_excite")(gate)
            y = layers.Multiply(name="c_product")([y, gate])
        y = layers.Conv2D(4, 1, name=f"{name}_narrow")(y)
        y = layers.Dropout(0.1, name="b_drop")(y) if name == "b" else y
        x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="swishes")


@pytest.fixture(scope="module")
def bundle(color_bundle: Bundle) -> Bundle:
    made = network()
    images = np.random.default_rng(1).integers(0, 256, (64, PX, PX, 3)).astype(np.uint8)
    reestimate(made, images, np.arange(64), 32)
    return color_bundle.with_network(network_bytes(made))


def run(bundle: Bundle, ctx: Any, **options: Any) -> Bundle:
    return swap_activation(bundle, SwapActivationConfig(**(QUICK | options)), ctx)


def kinds(bundle: Bundle) -> dict[str, str]:
    return {site.name: site.kind for site in find_activations(load_network(bundle))}


def test_without_training_photos_no_block_can_be_taught(bundle: Bundle, make_context: Any) -> None:
    rows = [row for row in read_splits(bundle).rows() if row[4] != "train"]
    untrained = bundle.with_files({"splits.parquet": write_splits(Splits.from_rows(rows))})
    with pytest.raises(DataError, match="no photos to teach blocks their former outputs on"):
        run(untrained, make_context())
    with pytest.raises(DataError, match="no photos to measure squeeze-excite on"):
        run(untrained, make_context(), order="all_at_once", match_epochs=5, squeeze_excite="remove")


def test_block_by_block_in_order(bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    result = run(bundle, ctx)
    assert kinds(result) == dict.fromkeys(("a_swish", "b_swish", "c_swish", "c_squeeze"), "relu6") | {
        "c_excite": "sigmoid"
    }
    rows = ctx.details["swap_activation"]["blocks"]
    assert [row["end"] for row in rows] == ["a_add", "b_add", "c_add"]
    assert rows[2]["swapped"] == ["c_swish", "c_squeeze"]
    assert all(row["matching"]["after"] <= row["matching"]["before"] for row in rows)
    assert all({"as_swapped", "matched", "top1"} <= set(row) for row in rows)
    before = [layer.name for layer in load_network(bundle).layers]
    assert [layer.name for layer in load_network(result).layers] == [one for one in before if one != "b_sigmoid"]
    assert result.labels == bundle.labels


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"begin": "end"}, ["c_add", "b_add", "a_add"]),
        ({"at_once": 2}, ["b_add", "c_add"]),
        ({"at_once": 2, "begin": "end"}, ["c_add", "a_add"]),
        ({"order": "all_at_once", "match_epochs": 5}, ["head_logits"]),
    ],
)
def test_the_order_is_as_asked(options: dict[str, Any], ends: list[str], bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    result = run(bundle, ctx, **({"match_epochs": 0} | options))
    rows = ctx.details["swap_activation"]["blocks"]
    assert [row["end"] for row in rows] == ends
    assert sum(len(row["swapped"]) for row in rows) == 4
    assert set(kinds(result).values()) == {"relu6", "sigmoid"}
    assert ("matching" in rows[0]) == (options.get("order") != "all_at_once")


@pytest.mark.parametrize("target", ["relu", "hard_swish"])
def test_other_targets(target: str, bundle: Bundle, make_context: Any) -> None:
    result = run(bundle, make_context(), target=target, order="all_at_once", match_epochs=5)
    assert set(kinds(result).values()) == {target, "sigmoid"}


@pytest.mark.parametrize(("begin", "swapped"), [("input", {"a_swish", "b_swish"}), ("end", {"b_swish", "c_swish"})])
def test_only_so_many_blocks_are_swapped(bundle: Bundle, make_context: Any, begin: str, swapped: set[str]) -> None:
    found = kinds(run(bundle, make_context(), count=2, begin=begin, match_epochs=0))
    assert {name for name, kind in found.items() if kind == "relu6"} - {"c_squeeze"} == swapped
    assert {name for name, kind in found.items() if kind == "swish"} - {"c_squeeze"} == {
        "a_swish", "b_swish", "c_swish"
    } - swapped  # fmt: skip


def test_one_kind_alone_goes(bundle: Bundle, make_context: Any) -> None:
    former = load_network(bundle)
    mixed = swap_activations(former, [site for site in find_activations(former) if site.name == "a_swish"], "relu")
    result = run(bundle.with_network(network_bytes(mixed)), make_context(), source="relu", match_epochs=0)
    assert kinds(result)["a_swish"] == "relu6"
    assert kinds(result)["b_swish"] == "swish"


def test_squeeze_excite_as_asked(bundle: Bundle, make_context: Any) -> None:
    options = {"source": "swish", "target": "hard_swish", "match_epochs": 0}
    hard = run(bundle, make_context(), squeeze_excite="hard_sigmoid", **options)
    assert kinds(hard)["c_excite"] == "hard_sigmoid"
    assert find_squeeze_excite(load_network(hard))
    ctx = make_context()
    without = load_network(run(bundle, ctx, squeeze_excite="remove", **options))
    assert not {"c_pool", "c_squeeze", "c_excite", "c_product"} & {layer.name for layer in without.layers}
    assert ctx.details["swap_activation"]["blocks"][2]["removed"] == ["c_product"]
    kernels = [one.get_layer("c_narrow").get_weights()[0] for one in (load_network(bundle), without)]
    gains = (kernels[1] / kernels[0])[0, 0]
    assert np.all((gains > 0) & (gains < 1)), "each channel is weighed by its mean gate"
    np.testing.assert_allclose(gains, np.broadcast_to(gains[:, :1], gains.shape), rtol=1e-4)


def test_a_gate_alone_may_change(bundle: Bundle, make_context: Any) -> None:
    former = load_network(bundle)
    plain = swap_activations(former, [site for site in find_activations(former) if site.kind == "swish"], "relu6")
    ctx = make_context()
    result = run(bundle.with_network(network_bytes(plain)), ctx, squeeze_excite="hard_sigmoid")
    assert [row["end"] for row in ctx.details["swap_activation"]["blocks"]] == ["c_add"]
    assert kinds(result)["c_excite"] == "hard_sigmoid"


# ---- matching --------------------------------------------------------------------------------------------------------


def matched(bundle: Bundle, make_context: Any, **options: Any) -> tuple[dict[str, Any], Any, Any]:
    ctx = make_context()
    former = load_network(bundle)
    changed = swap_activations(former, [site for site in find_activations(former) if site.kind == "swish"], "relu6")
    settings = Matching(**({"epochs": 8, "rate": 1e-2, "photos": 99, "batch": 8} | options))
    stretch = stretches(former)[1]
    assert (stretch.start, stretch.end) == ("a_add", "b_add")
    facts = match_stretch(former, changed, stretch, load_photos(bundle, "train", ctx), settings, ctx)
    return facts, former, changed


def test_a_stretch_learns_its_former_output(bundle: Bundle, make_context: Any) -> None:
    facts, former, changed = matched(bundle, make_context)
    assert facts["photos"] == 24
    assert facts["after"] < 0.8 * min(facts["before"], facts["renewed"])
    inside = {"b_wide", "b_bn", "b_narrow"}
    for layer in former.layers:
        if layer.weights:
            same = all(
                np.array_equal(one, other)
                for one, other in zip(layer.get_weights(), changed.get_layer(layer.name).get_weights(), strict=True)
            )
            assert same == (layer.name not in inside)


def test_photos_that_lie_by_class_are_mixed_for_their_statistics(make_context: Any) -> None:
    """A batch of one class alone is normalized to look like any other: statistics of such batches are those of none."""
    random = np.random.default_rng(6)
    labels = np.repeat(np.arange(3), 64)
    images = random.integers(0, 60, (192, PX, PX, 3)) + np.eye(3, dtype=np.int64)[labels][:, None, None] * 190
    photos = PhotoSet(images.astype(np.uint8), labels, ("",) * 192, ("a", "b", "c"), "train")
    former, changed = network(), network()
    reestimate(former, photos.images, random.permutation(192), 32)
    changed.set_weights(former.get_weights())
    changed.get_layer("b_bn").moving_mean.assign_add(np.full(8, 0.5))
    (stretch,) = (one for one in stretches(former) if one.end == "b_add")
    facts = match_stretch(former, changed, stretch, photos, Matching(0, 1e-3, 192, 16), make_context())
    assert facts["renewed"] < 0.05 * facts["before"]


def test_matching_settings_count(bundle: Bundle, make_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    still, slow = (matched(bundle, make_context, **one)[0] for one in ({"epochs": 0}, {"rate": 1e-5}))
    assert still["after"] == min(still["before"], still["renewed"])
    assert still["after"] * 0.9 < slow["after"] <= still["after"]
    assert matched(bundle, make_context, photos=5, epochs=1)[0]["photos"] == 5
    pair = 2 * (6 * 6 * 4 + 6 * 6 * 4)
    monkeypatch.setattr(matching_room, "HELD_BYTES", 7 * pair + 1)
    assert matched(bundle, make_context, epochs=0)[0]["photos"] == 7, "as many as memory allows"


def test_what_does_not_help_is_taken_back(bundle: Bundle, make_context: Any) -> None:
    facts, former, changed = matched(bundle, make_context, rate=1.0, epochs=1)
    settled, _, still = matched(bundle, make_context, epochs=0)
    assert facts["after"] == settled["after"]
    for name in ("b_wide", "b_narrow"):
        np.testing.assert_array_equal(changed.get_layer(name).get_weights()[0], still.get_layer(name).get_weights()[0])
    assert joined(stretches(former)).end == "head_logits"


@pytest.mark.slow
def test_the_settings_reach_the_matching(bundle: Bundle, make_context: Any) -> None:
    """Of one block alone, which is trained long enough to gain: whatever is set otherwise ends otherwise."""
    former = load_network(bundle)
    sites = [site for site in find_activations(former) if site.name in ("a_swish", "c_swish", "c_squeeze")]
    came = bundle.with_network(network_bytes(swap_activations(former, sites, "relu6")))
    base, results = {"match_epochs": 8, "match_rate": 1e-2, "batch": 8}, {}
    for key, value in {"batch": 8, "match_epochs": 7, "match_rate": 7e-3, "match_photos": 16}.items():
        ctx = make_context()
        run(came, ctx, **(base | {key: value}))
        (row,) = ctx.details["swap_activation"]["blocks"]
        assert row["matching"]["photos"] == (16 if key == "match_photos" else 24)
        assert row["matching"]["after"] < min(row["matching"]["before"], row["matching"]["renewed"])
        results[key] = row["matching"]["after"]
    assert len(set(results.values())) == 4


# ---- what can go wrong -----------------------------------------------------------------------------------------------


def breaking(color_bundle: Bundle) -> Bundle:
    """A ReLU of numbers below 6, where ReLU6 is the same; then an ELU of numbers below 0: ReLU6 leaves none."""
    photo = keras.Input((PX, PX, 3), name="photo")
    x = layers.ReLU(name="harmless")(layers.Conv2D(3, 1, name="first")(photo))
    x = layers.Activation("elu", name="vital")(layers.Conv2D(3, 1, name="second")(x))
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    made = keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="breaking")
    made.get_layer("first").set_weights([np.eye(3)[None, None], np.ones(3)])
    made.get_layer("second").set_weights([np.eye(3)[None, None], -np.full(3, 3.0)])
    made.get_layer("head_logits").set_weights([20 * np.eye(3)[:, ::-1], np.zeros(3)])
    return color_bundle.with_network(network_bytes(made))


def test_it_stops_at_the_last_good_block(color_bundle: Bundle, make_context: Any) -> None:
    ctx, came = make_context(), breaking(color_bundle)
    options = {"match_epochs": 0, "max_drop": 0.1}
    result = run(came, ctx, **options)
    assert kinds(result) == {"harmless": "relu6", "vital": "elu"}
    rows = ctx.details["swap_activation"]["blocks"]
    assert [(row["end"], row["kept"]) for row in rows] == [("harmless", True), ("vital", False)]
    assert ctx.details["swap_activation"]["top1"] > 0.9
    assert (
        "Swapping the block that ends in 'vital' was undone: validation top-1 fell from 1.000 to 0.333, by more"
        in ctx.details["warnings"][-1]
    )
    assert "Blocks that stay swapped: 1 of 2." in ctx.details["warnings"][-1]
    ctx = make_context()
    run(came, ctx, **options, final_epochs=1)
    assert ctx.details["swap_activation"]["blocks"][-1]["end"] == "all", "what stays swapped is trained with labels"
    assert ctx.details["parts"]["final-1"]["fit"]["epochs"] == 1
    assert run(came, make_context(), **options, begin="end") is came
    assert run(came, make_context(), max_drop=0.1, order="all_at_once", match_epochs=5) is came


def test_squeeze_excite_that_is_not_there_is_told(color_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    run(breaking(color_bundle), ctx, match_epochs=0, squeeze_excite="remove")
    assert ctx.details["warnings"][0].startswith("squeeze_excite = 'remove' changes nothing")


def test_an_activation_that_is_not_there_is_refused(bundle: Bundle, color_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(RequestError, match="'swishes' has no activation gelu") as refused:
        run(bundle, make_context(), source="gelu")
    assert refused.value.hint == "Its activations are: swish. Set source to one of them, or to any."
    ctx = make_context()
    assert run(color_bundle, ctx) is color_bundle
    assert "relu6 already" in ctx.details["warnings"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "after"), [("match", 3), ("train", 3)])
def test_an_interrupted_swap_ends_alike(what: str, after: int, bundle: Bundle, make_context: Any) -> None:
    """Bit for bit: stopped while the second group matches, or while it learns the labels again."""
    options = {"epochs": 1, "stages": 1, "at_once": 2, "final_epochs": 2}
    _, told, left = interrupted(make_context, lambda ctx: run(bundle, ctx, **options), what, after)
    assert "swap-1.keras" in left
    assert "swap-2.keras" not in left
    rows = told["swap_activation"]["blocks"]
    assert [row["end"] for row in rows] == ["b_add", "c_add", "all"]
    assert all(len(row["stages"]) == 1 for row in rows[:2])
    assert rows[2]["top1"] >= rows[1]["top1"], "the last epochs keep what is best"
    assert told["parts"]["final-1"]["fit"]["epochs"] == 2


def test_a_swap_of_everything_is_judged_with_statistics_of_its_own(bundle: Bundle, make_context: Any) -> None:
    """Untrained, with the statistics of the former activations, it would look worse than it is."""
    ctx = make_context()
    run(bundle, ctx, order="all_at_once", match_epochs=5, epochs=0, final_epochs=0, max_drop=1.0)
    (row,) = ctx.details["swap_activation"]["blocks"]
    assert row["top1"] == row["renewed"]


def test_settings_that_contradict_each_other_are_refused() -> None:
    for wrong, words in (
        ({"source": "relu6"}, "source and target are both relu6"),
        ({"order": "all_at_once", "epochs": 0, "final_epochs": 2}, "judged before final_epochs"),
        ({"order": "all_at_once", "stages": 3}, "stages does nothing"),
        ({"match_epochs": 0, "match_rate": 1e-3}, "match_rate does nothing with match_epochs = 0"),
        ({"match_epochs": 0, "match_photos": 99}, "match_photos does nothing"),
    ):
        with pytest.raises(ValidationError, match=words):
            SwapActivationConfig(**wrong)


def test_settings_of_blocks_are_refused_without_them() -> None:
    for idle in ({"begin": "end"}, {"at_once": 2}, {"match_epochs": 1}, {"match_rate": 0.1}, {"match_photos": 5}):
        with pytest.raises(ValidationError, match="does nothing with 'all_at_once'"):
            SwapActivationConfig(order="all_at_once", **idle)
