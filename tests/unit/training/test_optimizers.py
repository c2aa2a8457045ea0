"""Steps by hand, and micro-batches against the large batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from featherlite.step import Context
from featherlite.training.fit import FitConfig, fit
from featherlite.training.optimizers import is_kernel, optimizer_for

from .conftest import block_network, colored_photos, tiny_network


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_norms(name: Any) -> None:
    network = tiny_network()
    optimizer = optimizer_for(FitConfig(weight_decay=0.5, optimizer=name), np.float32([0.1]))
    optimizer.build(network.trainable_variables)
    for variable in network.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer.apply([np.zeros(v.shape, np.float32) for v in network.trainable_variables])
    after = {v.name: v.numpy() for v in network.trainable_variables}
    assert set(after) == {"kernel", "gamma", "beta", "bias"}
    np.testing.assert_allclose(after["kernel"], 0.95)  # 1 - rate * decay
    for spared in ("gamma", "beta", "bias"):
        assert (after[spared] == 1).all()


def stepped(gradients: list[list[float]], **options: Any) -> np.ndarray:
    """A weight that begins as [1, 1] after steps with these gradients at a rate of 0.1."""
    variable = keras.Variable([1.0, 1.0], name="kernel")
    optimizer = optimizer_for(FitConfig(**options), np.float32([0.1]))
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([np.float32(gradient)])
    return np.asarray(variable.numpy())


def test_sgd_by_hand() -> None:
    """Nesterov: v = m v - r g, then w = w + m v - r g."""
    plain: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 0.0, "clip_norm": 0.0}
    np.testing.assert_allclose(stepped([[1, 0], [1, 0]], **plain, momentum=0.0), [0.8, 1], rtol=1e-6)
    # v = -0.1, w = 1 - 0.05 - 0.1 = 0.85; v = -0.15, w = 0.85 - 0.075 - 0.1 = 0.675
    np.testing.assert_allclose(stepped([[1, 0], [1, 0]], **plain, momentum=0.5), [0.675, 1], rtol=1e-6)
    decayed = stepped([[1, 0]], **(plain | {"weight_decay": 0.2}), momentum=0.0)
    np.testing.assert_allclose(decayed, [0.98 - 0.1, 0.98], rtol=1e-6)


def test_clipping_by_hand() -> None:
    plain: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 0.0, "momentum": 0.0}
    np.testing.assert_allclose(stepped([[3, 4]], **plain, clip_norm=1.0), [1 - 0.06, 1 - 0.08], rtol=1e-5)
    np.testing.assert_allclose(stepped([[3, 4]], **plain, clip_norm=0.0, clip_value=3.5), [0.7, 0.65], rtol=1e-5)
    # By value first: [1, 1], then by the norm of that.
    both = stepped([[3, 4]], **plain, clip_norm=1.0, clip_value=1.0)
    np.testing.assert_allclose(both, [1 - 0.1 / 2**0.5] * 2, rtol=1e-5)


def test_the_factor_lowers_the_rate_of_a_built_optimizer() -> None:
    variable = keras.Variable([1.0], name="kernel")
    plain = FitConfig(optimizer="sgd", momentum=0.0, weight_decay=0.5, clip_norm=0.0)
    optimizer = optimizer_for(plain, np.float32([0.1, 0.2]))
    optimizer.build([variable])
    optimizer.rate_factor.assign(0.5)
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
    optimizer.apply([np.float32([1])])
    np.testing.assert_allclose(variable.numpy(), [1 - 0.05 * 0.5 - 0.05], rtol=1e-6)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)


def test_averages_come_and_go_bit_for_bit_under_a_constraint_too() -> None:
    start = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    constraint = keras.constraints.UnitNorm(axis=0)
    weight = keras.Variable(np.asarray(constraint(keras.ops.convert_to_tensor(start))), name="kernel")
    weight.constraint = constraint
    optimizer = optimizer_for(FitConfig(), np.full(3, 0.1, np.float32), 0.5)
    optimizer.build([weight])
    for seed in range(3):
        optimizer.apply([keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=(5, 40)))])
    before = weight.numpy()
    optimizer.swap_averages()
    assert not np.array_equal(weight.numpy(), before)
    np.testing.assert_allclose(np.linalg.norm(weight.numpy(), axis=0), 1.0, atol=1e-5)
    optimizer.swap_averages()
    assert np.array_equal(weight.numpy(), before)


def test_kernels_are_what_is_neither_bias_nor_norm() -> None:
    names = {f"{v.path.split('/')[-2]}/{v.name}" for v in tiny_network().trainable_variables if is_kernel(v)}
    assert names == {"conv/kernel", "head_logits/kernel"}


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.05, "ema": "auto", "weight_decay": 0.3, "schedule": "one_cycle"},
        {"optimizer": "sgd", "ema": 0.7, "clip_value": 0.02, "mixup": 0.5, "l2": 0.01, "class_weights": "balanced"},
        {"schedule": "plateau", "plateau_patience": 1, "warmup": 0.0, "unlock_stages": 2, "unlock_rate_decay": 0.5},
    ],
    ids=["adamw", "sgd", "stages"],
)
def test_micro_batches_do_what_the_large_batch_does(context: Callable[..., Context], options: dict[str, Any]) -> None:
    """Without BatchNorm: the same weights up to rounding, over head epochs on features and epochs on photos."""
    results, keys = [], {"head_epochs": 1, "epochs": 4, "rate": 0.02} | options
    judged = colored_photos(9, 2, "val") if "schedule" in options else None
    for batch, accumulate in ((12, 1), (4, 3)):
        network = block_network()
        config = FitConfig(**keys, batch=batch, accumulate=accumulate)
        result = fit(network, colored_photos(30, 1), judged, config, context())
        results.append((network.get_weights(), result.curve))
    (large, expected), (small, curve) = results
    start = block_network().get_weights()
    assert max(np.abs(a - b).max() for a, b in zip(large, start, strict=True)) > 0.005
    for mine, theirs in zip(small, large, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)
    for key in ("rate", "loss") if judged is None else ("rate", "loss", "val_loss"):
        np.testing.assert_allclose([e[key] for e in curve], [e[key] for e in expected], rtol=1e-4)


def test_the_penalty_is_in_the_loss_by_hand(context: Callable[..., Context]) -> None:
    """At next to no rate the loss grows by l2 times the kernels' squares, in the head epochs by the head's alone."""
    plain: dict[str, Any] = {"head_rate": 1e-12, "rate": 1e-12, "head_epochs": 1, "epochs": 1, "ema": "none"}
    network, squares = block_network(), {}
    for layer in network.layers:
        if layer.weights:
            squares[layer.name] = float(np.square(layer.get_weights()[0]).sum())
    curves = [
        fit(block_network(), colored_photos(12, 1), None, FitConfig(**plain, batch=12, l2=l2), context()).curve
        for l2 in (0.0, 0.1)
    ]
    extra = [with_l2["loss"] - without["loss"] for without, with_l2 in zip(*curves, strict=True)]
    assert extra == pytest.approx([0.1 * squares["head_logits"], 0.1 * sum(squares.values())], rel=1e-3)
