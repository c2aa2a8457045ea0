"""A network computed one layer at a time: the same answer, weights changed on the way count, and nothing is hoarded."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from featherlite.models.stepwise import stepwise

layers = keras.layers
PHOTOS = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def network() -> Any:
    """A shortcut over two convolutions, a sum written as an operator, dropout that must not act."""
    keras.utils.set_random_seed(3)
    photo = keras.Input((8, 8, 3))
    x = first = layers.Conv2D(5, 3, padding="same", name="first")(photo)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(5, 1, name="second")(keras.ops.relu(x))
    x = layers.Dropout(0.5)(layers.Add(name="sum")([x, first])) * 2.0
    return keras.Model(photo, layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x)))


def test_it_computes_what_the_network_does(network: Any) -> None:
    seen: list[str] = []

    def visit(operation: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        seen.append(operation.name)
        return operation(*given, **options)

    np.testing.assert_allclose(stepwise(network, PHOTOS, visit), network(PHOTOS, training=False), rtol=1e-5, atol=1e-6)
    assert seen.index("first") < seen.index("norm") < seen.index("second") < seen.index("sum") < seen.index("logits")
    assert len(seen) == len(network.operations) - 1, "all but the input, each once"


def test_a_weight_changed_on_its_turn_counts_from_there_on(network: Any) -> None:
    def visit(operation: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if operation.name == "second":
            operation.kernel.assign(operation.kernel * 3)
        return operation(*given, **options)

    made = np.asarray(stepwise(network, PHOTOS, visit))
    np.testing.assert_allclose(made, network(PHOTOS, training=False), rtol=1e-5, atol=1e-6)


def test_what_nothing_needs_any_more_is_let_go(network: Any) -> None:
    """When the logits are computed, no feature map is left but their input."""
    made: dict[str, Any] = {}
    alive: list[str] = []

    def visit(operation: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if operation.name == "logits":
            alive.extend(name for name, reference in made.items() if reference() is not None)
        output = operation(*given, **options)
        made[operation.name] = weakref.ref(output)
        return output

    stepwise(network, PHOTOS, visit)
    assert len(alive) == 1, alive
