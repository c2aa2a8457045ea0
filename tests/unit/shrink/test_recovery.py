"""What a shrinking step stands on: milestones that survive a kill, and recovery from the wound outward."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.models.network import load_network, network_bytes
from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward, distances
from featherlite.step import Context

QUICK: dict[str, Any] = {"epochs": 1, "batch": 12, "ema": "none", "stages": 2}


def chain(count: int = 5) -> Any:
    """photo -> c0 -> c1 -> ..., each followed by an activation, with a shortcut around c2."""
    layers = keras.layers
    photo = x = keras.Input((8, 8, 3), name="photo")
    for number in range(count):
        y = layers.ReLU(name=f"r{number}")(layers.Conv2D(3, 1, name=f"c{number}")(x))
        x = layers.Add(name="sum")([x, y]) if number == 2 else y
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, layers.Dense(3, name="head_logits")(x), name="chain")


def test_distances_count_layers_with_weights() -> None:
    away = distances(chain(), ["c1"])
    assert away == {"c0": 1, "c1": 0, "c2": 1, "c3": 1, "c4": 2, "head_logits": 3}, "c3 lies behind the shortcut"
    assert distances(chain(), ["sum"]) == {"c0": 2, "c1": 1, "c2": 1, "c3": 1, "c4": 2, "head_logits": 3}
    assert set(distances(chain(), []).values()) == {1}


def test_a_milestone_is_made_once(make_context: Any) -> None:
    ctx: Context = make_context()
    made = []

    def make(inner: Context) -> Reached:
        made.append(inner.resume)
        inner.record("note", 7)
        inner.warn("mind the gap")
        return Reached(chain(), {"kept": (1, 2)})

    first = reach(ctx, "one", make)
    again = Context(ctx.seed, ctx.scratch, ctx.resume, ctx.cache, ctx.data)
    second = reach(again, "one", make)
    assert len(made) == 1
    assert not made[0].exists(), "what the part kept for itself is not needed any more"
    assert first.facts == second.facts == {"kept": [1, 2]}
    assert network_bytes(first.network) == network_bytes(second.network)
    assert again.details == ctx.details == {"parts": {"one": {"note": 7}}, "warnings": ["mind the gap"]}
    (ctx.resume / "one.keras").write_bytes(b"cut short")
    reach(again, "one", make)
    assert len(made) == 2, "what is damaged is made anew"


def test_recovery_trains_the_wound_first(color_bundle: Bundle, make_context: Any) -> None:
    ctx: Context = make_context()
    ward = Ward.open(color_bundle, RecoveryConfig(**QUICK), ctx)
    network = load_network(color_bundle)
    names = [layer.name for layer in network.layers if layer.weights]
    start = {name: network.get_layer(name).get_weights() for name in names}
    reached = ward.recover(network, ["head_logits"], ctx, "heal")
    trained = [stage["layers"] for stage in reached.facts["stages"]]
    assert trained == sorted(trained)
    assert trained[-1] == len(names)
    assert trained[0] < len(names)
    assert reached.facts["top1"] == ward.top1(reached.network)
    assert all(layer.trainable for layer in reached.network.layers if layer.weights)
    first = network_of(ctx, "heal-1")
    far = [name for name, steps in distances(network, ["head_logits"]).items() if steps > 1]
    assert far
    for name in far:
        for old, new in zip(start[name], first.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert reached.facts["top1"] >= reached.facts["stages"][0]["before"]


def network_of(ctx: Context, name: str) -> Any:
    from featherlite.models.network import network_from

    return network_from(Path(ctx.resume / f"{name}.keras"))


def test_a_teacher_guides_recovery(color_bundle: Bundle, make_context: Any) -> None:
    """The labels' share is nothing and the teacher calls blue what is red: that is what is learned."""
    teacher = load_network(color_bundle)
    kernel, bias = teacher.get_layer("head_logits").get_weights()
    teacher.get_layer("head_logits").set_weights([kernel[:, ::-1], bias[::-1]])
    ctx = make_context()
    wrong = color_bundle.with_network(network_bytes(teacher)).save(ctx.scratch / "wrong")
    keys: dict[str, Any] = {"epochs": 12, "rate": 0.05, "stages": 1, "augment": 0, "alpha": 1.0, "temperature": 1.0}
    config = RecoveryConfig(**(QUICK | keys), teacher=(str(wrong.home),))
    ward = Ward.open(color_bundle, config, ctx)
    assert ward.teaching() is ward.teaching(), "asked once, however often the network recovers"
    blind = Ward(ward.train, None, config, ward.teaching)  # validation photos would give back what is wrong
    healed = blind.recover(load_network(color_bundle), ["head_logits"], ctx, "heal")
    photos = ward.train.images[:].astype(np.float32) / 128 - 1
    answers = healed.network.predict_on_batch(photos).argmax(axis=1)
    assert (answers == 2 - ward.train.labels).mean() > 0.9


def test_a_teacher_that_cannot_teach_is_refused_before_anything_trains(color_bundle: Bundle, make_context: Any) -> None:
    with pytest.raises(RequestError, match="there is no nowhere"):
        Ward.open(color_bundle, RecoveryConfig(teacher=("nowhere",)), make_context())


@pytest.mark.parametrize("idle", [{"temperature": 2.0}, {"kind": "both"}, {"views": 0}, {"teacher_input": "unit"}])
def test_settings_of_a_teacher_need_one(idle: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="does nothing without a teacher"):
        RecoveryConfig(**idle)
    assert RecoveryConfig(teacher=("step:train",), **idle).earlier() == ("train",)


def test_a_drop_is_held_against_what_came() -> None:
    ward = Ward(None, None, RecoveryConfig(max_drop=0.02))  # type: ignore[arg-type]
    assert ward.holds(0.88, 0.90)
    assert not ward.holds(0.87, 0.90)
    assert ward.holds(None, 0.90), "nobody knows"
    assert 20 / 30 < 23 / 30 - 0.1, "in floats"
    assert Ward(None, None, RecoveryConfig(max_drop=0.1)).holds(20 / 30, 23 / 30), "three photos of thirty"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("photos", "top1", "reference", "why"),
    [
        (300, 0.60, 0.90, "validation top-1 fell from 0.900 to 0.600, by more than max_drop = 0.2"),
        (300, 0.33, 0.50, "validation top-1 fell from 0.500 to 0.330, no better than guessing (0.333)"),
        (300, 0.34, 0.50, ""),
        (300, 0.30, 0.36, ""),  # it knew nothing when it came: 0.36 of 300 photos may be luck
        (0, 0.10, 0.90, ""),
        (300, None, 0.90, ""),
    ],
)
def test_what_was_lost_by_hand(photos: int, top1: float | None, reference: float, why: str) -> None:
    """Three classes of as many photos; the drop is allowed where the floor is spoken of."""
    val = SimpleNamespace(labels=np.arange(photos) % 3) if photos else None
    ward = Ward(None, val, RecoveryConfig(max_drop=0.2))  # type: ignore[arg-type]
    assert ward.lost(top1, reference) == why


def test_parts_of_a_step_see_other_cuts_than_each_other(color_bundle: Bundle, make_context: Any) -> None:
    """The same network, photos and seed; only the name of the part differs, or what the step was asked for."""

    def weights_after(name: str, asked: str = "") -> list[Any]:
        ctx: Context = make_context()
        ctx.asked = asked
        ward = Ward.open(color_bundle, RecoveryConfig(**(QUICK | {"stages": 1})), ctx)
        blind = Ward(ward.train, None, ward.config)  # the last epoch is kept, whatever it is worth
        weights: list[Any] = blind.recover(load_network(color_bundle), (), ctx, name).network.get_weights()
        return weights

    def same(first: list[Any], second: list[Any]) -> bool:
        return all((one == other).all() for one, other in zip(first, second, strict=True))

    first = weights_after("heal")
    assert same(first, weights_after("heal"))
    assert not same(first, weights_after("tune"))
    assert not same(first, weights_after("heal", "resize_input 80"))
    ctx: Context = make_context()
    shifts = [
        ctx.epoch_shift,
        *(ctx.part(name).epoch_shift for name in ("a", "b")),
        ctx.part("a").part("b").epoch_shift,
    ]
    assert shifts[0] == 0
    assert len(set(shifts)) == 4
    assert max(shifts) + 10_000 < 2**32


def test_the_head_may_recover_alone(color_bundle: Bundle, make_context: Any) -> None:
    ctx: Context = make_context()
    config = RecoveryConfig(**(QUICK | {"epochs": 0, "head_epochs": 2, "head_rate": 0.1}))
    ward = Ward.open(color_bundle, config, ctx)
    blind = Ward(ward.train, None, config)
    before = load_network(color_bundle)
    after = blind.recover(load_network(color_bundle), ["stem"], ctx, "heal").network
    changed = [
        one.name
        for one in after.layers
        if one.weights and (one.get_weights()[0] != before.get_layer(one.name).get_weights()[0]).any()
    ]
    assert changed == ["head_logits"]
    assert blind.recover(before, ["stem"], ctx, "none").facts["stages"], "one stage"


def test_a_teacher_without_an_epoch_is_refused() -> None:
    from featherlite.shrink.remove_blocks import RemoveBlocksConfig
    from featherlite.shrink.swap_activation import SwapActivationConfig

    for config, more in (
        (RecoveryConfig, {}),
        (RemoveBlocksConfig, {}),
        (SwapActivationConfig, {"final_epochs": 0}),
    ):
        with pytest.raises(ValidationError, match="teacher does nothing"):
            config(teacher=("big",), epochs=0, **more)  # type: ignore[arg-type]
        assert config(teacher=("big",), epochs=1, **more).teacher == ("big",)  # type: ignore[arg-type]
    assert RemoveBlocksConfig(teacher=("big",), epochs=0, fade="anneal").listens(), "while branches fade"
    assert SwapActivationConfig(teacher=("big",), epochs=0).listens(), "once all is swapped"


def test_settings_of_another_kind_of_stages_are_refused() -> None:
    for idle in ({"unlock": 3}, {"unlock_stages": 2}):
        with pytest.raises(ValidationError, match="does nothing here: stages says"):
            RecoveryConfig(**idle)
