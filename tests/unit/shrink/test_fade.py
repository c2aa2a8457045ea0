"""Gates: how they close, what trains meanwhile, and that none is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from featherlite.data.photos import PhotoSet
from featherlite.models.network import network_bytes, network_from
from featherlite.models.surgery.blocks import residual_blocks, without_blocks
from featherlite.shrink.fade import Closing, Fade, Gate, Penalized
from featherlite.step import Context
from featherlite.training.config import FitConfig
from featherlite.training.fit import fit
from featherlite.training.guide import LOGITS

from .cutting import eager

__all__ = ["eager"]

PHOTOS = np.random.default_rng(2).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
ROWS = np.arange(24) % 3


def network() -> Any:
    """A stem and two blocks with BatchNorm on 8x8 photos."""
    keras.utils.set_random_seed(6)
    photo = keras.Input((8, 8, 3), name="photo")
    x = keras.layers.Conv2D(6, 1, name="stem")(photo)
    for name in "ab":
        y = keras.layers.Conv2D(6, 3, padding="same", name=f"{name}_conv")(x)
        y = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(y)
        x = keras.layers.Add(name=f"{name}_sum")([x, y] if name == "a" else [y, x])
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(photo, keras.layers.Dense(3, name="head_logits")(x), name="two")


def test_a_gate_closes_evenly_and_in_training_alone() -> None:
    gate, one = Closing(4), np.ones((1, 2), np.float32)
    passed = [float(gate(one, training=True)[0, 0]) for _ in range(5)]
    assert passed == [1.0, 0.75, 0.5, 0.25, 0.0]
    gate.opening.assign(0.5)
    assert [float(gate(one, training=False)[0, 0]) for _ in range(2)] == [0.5, 0.5]


def test_a_penalized_gate_by_hand() -> None:
    """Open as 1 - gain times what was learned, within 0..1; the gradient is the gate's own whatever the gain is."""
    import tensorflow as tf

    gate, two = Penalized(penalty=0.5, gain=100.0), tf.constant([[2.0]])
    assert float(gate(two)[0, 0]) == 2.0
    for learned, wanted in ((0.004, 0.6), (0.02, 0.0), (-0.01, 1.0)):
        gate.closed.assign(learned)
        with tf.GradientTape() as tape:
            passed = gate(two)
            loss = passed[0, 0] + gate.losses[0]
        assert float(passed[0, 0]) == pytest.approx(2 * wanted)
        assert float(gate.losses[0]) == pytest.approx(0.5 * wanted)
        assert float(tape.gradient(loss, gate.closed.value)) == pytest.approx(-(2 + 0.5))


def test_open_gates_change_nothing_and_share_what_stays() -> None:
    former = network()
    blocks = residual_blocks(former)
    cut = without_blocks(former, blocks)
    gated = Fade(former, blocks, 8).model(cut)
    np.testing.assert_array_equal(gated.predict_on_batch(PHOTOS)[LOGITS], former.predict_on_batch(PHOTOS))
    assert gated.get_layer("stem") is cut.get_layer("stem")
    assert gated.get_layer("a_conv") is not former.get_layer("a_conv")
    trained = {variable.path.split("/")[0] for variable in gated.trainable_variables}
    assert trained == {"stem", "head_logits"}, "a branch that goes stays as it is"
    for layer in gated.layers:
        if isinstance(layer, Gate):
            layer.opening.assign(0.0)
    np.testing.assert_allclose(gated.predict_on_batch(PHOTOS)[LOGITS], cut.predict_on_batch(PHOTOS), atol=1e-6)


def test_a_penalized_gate_closes_in_the_steps_that_move_weights() -> None:
    """Of 40 batches in fours ten steps are left: the gates then have to move four times as far in each."""
    former = network()
    blocks = residual_blocks(former)
    one, four = (Fade(former, blocks, 40, kind="penalty", rate=0.01, accumulate=count) for count in (1, 4))
    assert (one.gain, four.gain) == (7.5, 30.0)


def test_the_identity_tells_fades_apart() -> None:
    former = network()
    blocks = residual_blocks(former)
    other = network()
    other.get_layer("b_conv").bias.assign(np.ones(6))
    fades = [
        Fade(former, blocks, 8),
        Fade(former, blocks[:1], 8),
        Fade(former, blocks, 9),
        Fade(former, blocks, 8, kind="penalty"),
        Fade(former, blocks, 8, kind="penalty", penalty=0.1),
        Fade(former, blocks, 8, kind="penalty", rate=0.1),
        Fade(former, blocks, 8, kind="penalty", accumulate=2),
        Fade(other, blocks, 8),
    ]
    assert len({fade.identity for fade in fades}) == len(fades)
    assert Fade(former, blocks, 8).identity == fades[0].identity


def test_a_branch_may_hold_bare_operations() -> None:
    """As the squeeze-excite of MobileNetV3, whose gate is ReLU6(x + 3) / 6."""
    photo = keras.Input((8, 8, 3), name="photo")
    x = keras.layers.Conv2D(6, 1, name="stem")(photo)
    y = keras.layers.ReLU(6.0, name="gate")(keras.layers.Conv2D(6, 1, name="conv")(x) + 3.0) * (1 / 6)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(keras.layers.Add(name="sum")([x, y]))
    former = keras.Model(photo, keras.layers.Dense(3, name="head_logits")(x))
    (block,) = residual_blocks(former)
    fade = Fade(former, [block], 8)
    before = fade.identity
    former.get_layer("conv").bias.assign(np.ones(6))
    assert fade.identity != before
    gated = fade.model(without_blocks(former, [block]))
    np.testing.assert_array_equal(gated.predict_on_batch(PHOTOS)[LOGITS], former.predict_on_batch(PHOTOS))


def test_a_teacher_beside_the_gates_is_listened_to() -> None:
    class Teacher:
        views, identity = 3, "who"

        def model(self, network: Any) -> Any:
            soft = keras.layers.Identity(name="soft")(network.outputs[0])
            return keras.Model(network.inputs[0], {LOGITS: network.outputs[0], "soft": soft})

        def losses(self) -> Any:
            return {"soft": (keras.losses.MeanSquaredError(), 0.5)}

        def targets(self, rows: Any, view: int) -> Any:
            return {"soft": (rows, view)}

    former, teacher = network(), Teacher()
    blocks = residual_blocks(former)
    cut = without_blocks(former, blocks)
    fade = Fade(former, blocks, 8, beside=teacher)
    gated = fade.model(cut)
    assert set(gated.output) == {LOGITS, "soft"}
    assert sum(isinstance(layer, Gate) for layer in gated.layers) == 2
    assert gated.get_layer("stem") is cut.get_layer("stem")
    for answer in gated.predict_on_batch(PHOTOS).values():
        np.testing.assert_array_equal(answer, former.predict_on_batch(PHOTOS))
    assert (fade.views, set(fade.losses()), fade.targets(ROWS, 2)["soft"][1]) == (3, {"soft"}, 2)
    alone = Fade(former, blocks, 8)
    assert (alone.views, alone.losses(), alone.targets(ROWS, 2)) == (0, {}, {})
    assert alone.identity != fade.identity


@pytest.mark.parametrize("kind", ["anneal", "penalty"])
def test_what_comes_out_of_the_training_is_the_ordinary_network(kind: Any, tmp_path: Path) -> None:
    former = network()
    blocks = residual_blocks(former)[1:]
    cut = without_blocks(former, blocks)
    images = np.random.default_rng(3).integers(0, 180, (24, 8, 8, 3))
    images[np.arange(24), :, :, ROWS] += 60
    photos = PhotoSet(images.astype(np.uint8), ROWS, tuple(map(str, range(24))), ("a", "b", "c"), "train")
    fade = Fade(former, blocks, 2 * 3, kind=kind, rate=0.01)
    gates: list[Gate] = []

    class Watched(Fade):
        def model(self, network: Any) -> Any:
            gated = fade.model(network)
            gates.extend(layer for layer in gated.layers if isinstance(layer, Gate))
            return gated

    before, start = cut.get_weights(), former.get_weights()
    config = FitConfig(head_epochs=0, epochs=2, batch=8, rate=0.01, augment=0, ema="none")
    ctx = Context(1, tmp_path, tmp_path / "resume", tmp_path / "cache")
    fit(cut, photos, None, config, ctx, Watched(former, blocks, 6, kind=kind, rate=0.01))
    assert any((old != new).any() for old, new in zip(before, cut.get_weights(), strict=True))
    for old, new in zip(start, former.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    if kind == "anneal":
        assert float(gates[0].opening) == 0.0, "closed when the training ends"
    else:
        assert isinstance(gates[0], Penalized)
        assert float(gates[0].closed) > 0, "on its way"
    again = network_from(network_bytes(cut))
    assert [layer.name for layer in again.layers] == [
        "photo",
        *("stem", "a_conv", "a_norm", "a_sum", "head_pool", "head_logits"),
    ]
    np.testing.assert_array_equal(again.predict_on_batch(PHOTOS), cut.predict_on_batch(PHOTOS))
