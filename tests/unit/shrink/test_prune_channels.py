"""Pruned channels: as many as asked, those that matter least, and no further than accuracy bears."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.models.network import count_macs, count_parameters, load_network, network_bytes
from featherlite.models.surgery.channels import channels_of
from featherlite.shrink.prune_channels import PruneChannelsConfig, prune_channels
from featherlite.step import Context, Silent

from ..stopping import interrupted

UNTRAINED: dict[str, Any] = {"epochs": 0, "multiple": 1, "rounds": 1}
QUICK: dict[str, Any] = {
    "epochs": 1,
    "batch": 12,
    "ema": "none",
    "stages": 1,
    "multiple": 2,
    "criterion": "magnitude",
    "augment": 0.0,
}


def pruned(bundle: Bundle, ctx: Context, **options: Any) -> Bundle:
    return prune_channels(bundle, PruneChannelsConfig(**options), ctx)


def widths(bundle: Bundle) -> dict[str, int]:
    return {name: group.width for name, group in channels_of(load_network(bundle)).free().items()}


@pytest.mark.parametrize("criterion", ["taylor", "magnitude"])
def test_the_channels_that_tell_colors_apart_stay(color_bundle: Bundle, make_context: Any, criterion: str) -> None:
    """The first three of eight see one color each, the rest small noise."""
    ctx = make_context()
    after = pruned(color_bundle, ctx, share=0.5, criterion=criterion, **UNTRAINED)
    old, new = load_network(color_bundle), load_network(after)
    assert widths(after) == {"stem": 4}
    kernel = old.get_layer("stem").get_weights()[0]
    np.testing.assert_array_equal(new.get_layer("stem").get_weights()[0][..., :3], kernel[..., :3])
    assert [layer.name for layer in new.layers[1:]] == [layer.name for layer in old.layers[1:]]
    told = ctx.details["prune_channels"]
    assert told["reference"] == 1.0
    assert told["rounds"][0]["top1"] == told["rounds"][0]["top1_cut"] == 1.0
    assert told["rounds"][0]["widths"] == {"stem": [8, 4]}
    assert (told["start"]["channels"], told["target"], told["end"]["channels"]) == (8, {"channels": 4}, 4)
    assert (told["end"]["parameters"], told["end"]["macs"]) == (count_parameters(new), count_macs(new))
    assert told["protected"].keys() == {"image", "head_logits"}
    assert "warnings" not in ctx.details


def test_limits_hold(color_bundle: Bundle, make_context: Any) -> None:
    """A channel of the stem costs 27 + 1 + 9 + 1 + 3 parameters, and 144 places times 27 + 9, and 3."""
    network, settings = load_network(color_bundle), UNTRAINED | {"criterion": "magnitude", "augment": 0.0}
    parameters, macs = count_parameters(network), count_macs(network)
    assert widths(pruned(color_bundle, make_context(), parameters=parameters - 42, **settings)) == {"stem": 6}
    assert widths(pruned(color_bundle, make_context(), macs=macs - 5187, **settings)) == {"stem": 7}
    both = {"parameters": parameters - 41, "macs": macs - 3 * 5187}
    assert widths(pruned(color_bundle, make_context(), **both, **settings)) == {"stem": 5}


def test_rounds_share_the_way(color_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    pruned(color_bundle, ctx, share=0.75, criterion="magnitude", **UNTRAINED | {"rounds": 2, "max_drop": 1.0})
    told = ctx.details["prune_channels"]["rounds"]
    assert [facts["widths"]["stem"] for facts in told] == [[8, 4], [4, 2]]


def test_widths_stay_multiples_and_no_group_is_emptied(color_bundle: Bundle, make_context: Any) -> None:
    settings = UNTRAINED | {"share": 0.3, "criterion": "magnitude", "augment": 0.0}
    assert widths(pruned(color_bundle, make_context(), **settings | {"multiple": 4})) == {"stem": 4}
    ctx = make_context()
    assert widths(pruned(color_bundle, ctx, **settings | {"least": 0.75, "share": 0.5})) == {"stem": 6}
    assert "with every width at its least the network has 6 of its 8" in ctx.details["warnings"][0]


def test_photos_are_as_many_as_asked(color_bundle: Bundle, make_context: Any) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            self.total = 0

        def start(self, what: str, total: int) -> None:
            self.total += total * (what == "weigh channels")

    ctx = make_context()
    ctx.progress = Counting()
    pruned(color_bundle, ctx, photos=10, **UNTRAINED)
    assert ctx.progress.total == 10


def test_bn_scale_takes_what_batchnorm_silenced(color_bundle: Bundle, make_context: Any) -> None:
    old = load_network(color_bundle)
    norm = layers.BatchNormalization(name="stem_bn")
    x = norm(old.get_layer("stem").output)
    for layer in old.layers[2:]:
        x = layer(x)
    norm.gamma.assign([1.0, 1.0, 1.0, 0.1, 0.5, 0.2, 0.6, 0.7])
    bundle = color_bundle.with_network(network_bytes(keras.Model(old.input, x)))
    after = load_network(pruned(bundle, make_context(), share=0.25, criterion="bn_scale", **UNTRAINED))
    np.testing.assert_allclose(after.get_layer("stem_bn").get_weights()[0], [1, 1, 1, 0.5, 0.6, 0.7])
    with pytest.raises(RequestError, match="or no BatchNorm that scales them"):
        pruned(color_bundle, make_context(), criterion="bn_scale", **UNTRAINED)


def test_it_stops_at_the_last_good_one(color_bundle: Bundle, make_context: Any) -> None:
    """Without recovery seven channels cannot go: one of three colors is all that is left to see."""
    ctx = make_context()
    settings = UNTRAINED | {"share": 0.87, "rounds": 2, "least": 0.0, "criterion": "magnitude", "augment": 0.0}
    after = pruned(color_bundle, ctx, **settings)
    told = ctx.details["prune_channels"]
    assert widths(after) == {"stem": 3}
    assert (told["kept"], len(told["rounds"]), told["end"]["channels"]) == (1, 2, 3)
    assert "Round 2 of 2 took too much: validation top-1 fell from 1.000" in ctx.details["warnings"][0]
    assert "the network of round 1 is kept" in ctx.details["warnings"][0]
    ctx = make_context()
    after = pruned(color_bundle, ctx, **settings | {"rounds": 1})
    assert after.read("model.keras") == color_bundle.read("model.keras")
    assert "it stays as it came" in ctx.details["warnings"][0]


def test_what_is_small_already_is_left_alone(color_bundle: Bundle, make_context: Any) -> None:
    ctx = make_context()
    assert pruned(color_bundle, ctx, parameters=10_000, **UNTRAINED) is color_bundle
    assert "no larger than was asked for" in ctx.details["warnings"][0]


@pytest.mark.parametrize(("options", "told"), [({"parameters": 40}, "40 parameters"), ({"macs": 9}, "9 MACs")])
def test_beyond_its_least_it_goes_as_far_as_it_can(
    options: dict[str, Any], told: str, color_bundle: Bundle, make_context: Any
) -> None:
    ctx = make_context()
    after = pruned(color_bundle, ctx, max_drop=1.0, **UNTRAINED, **options)
    assert widths(after) == {"stem": 2}, "a quarter of eight"
    assert ctx.details["warnings"][0].startswith(f"Pruned as far as may be, not to {told}: with every width at its")
    assert ctx.details["prune_channels"]["end"]["parameters"] == 85


def test_where_nothing_may_be_pruned_it_is_refused(color_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(RequestError, match=r"no channels that may be pruned \(they are the photo's; .*multiple = 8"):
        pruned(color_bundle, make_context(), epochs=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.4, "macs": 10}, "share does nothing beside parameters or macs"),
        ({"criterion": "magnitude", "photos": 9}, "photos does nothing with criterion = 'magnitude'"),
        ({"unlock": 3}, "unlock does nothing here"),
    ],
)
def test_idle_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PruneChannelsConfig(**options)


def test_an_interrupted_pruning_ends_alike(color_bundle: Bundle, make_context: Any) -> None:
    """Stopped in the second round's recovery: bit for bit what an undisturbed run gives, and told alike."""
    options = QUICK | {"share": 0.5, "rounds": 2, "rate": 0.01}
    network = load_network(color_bundle)
    head = network.get_layer("head_logits")
    head.set_weights([np.roll(value, 1, axis=-1) for value in head.get_weights()])  # there is something to learn
    color_bundle = color_bundle.with_network(network_bytes(network))
    _, told, left = interrupted(make_context, lambda ctx: pruned(color_bundle, ctx, **options), "train", 3)
    assert "round-1.keras" in left
    assert "round-2.keras" not in left
    told = told["prune_channels"]
    assert told["rounds"][-1]["top1"] > told["rounds"][0]["top1_cut"], "training counted"
