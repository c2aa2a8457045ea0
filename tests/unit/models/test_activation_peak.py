"""The estimate of the arena: by hand on small graphs, and against artefacts and TensorFlow Lite Micro."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from featherlite.models.activation_peak import activation_peak
from featherlite.models.memory_plan import activation_bytes
from featherlite.runtime.flatbuffer import inspect

PHOTO = 8 * 8 * 3
MAP = 8 * 8 * 16


def network(body: Callable[[Any], Any], px: int = 8) -> Any:
    photo = keras.Input((px, px, 3), name="photo")
    return keras.Model(photo, body(photo))


def same(channels: int = 16, **settings: Any) -> Any:
    return layers.Conv2D(channels, 3, padding="same", **settings)


def test_a_chain_needs_its_largest_neighbors() -> None:
    def body(x: Any) -> Any:
        return layers.Dense(2)(layers.GlobalAveragePooling2D()(same(8)(same(16)(x))))

    assert activation_peak(network(body)) == MAP + MAP // 2


def test_an_operation_may_make_several() -> None:
    def body(x: Any) -> Any:
        first, second = keras.ops.split(same(16)(x), 2, axis=-1)
        return layers.Add()([first, second])

    assert activation_peak(network(body)) == MAP + MAP


@pytest.mark.parametrize(
    "behind",
    [
        lambda x: layers.ReLU(6.0)(layers.BatchNormalization()(x)),
        lambda x: layers.Activation("relu6")(layers.Dropout(0.3)(x)),
        lambda x: layers.Activation("linear")(layers.SpatialDropout2D(0.3)(layers.ReLU()(x))),
    ],
)
def test_what_is_computed_together_is_stored_once(behind: Any) -> None:
    assert activation_peak(network(lambda x: behind(same()(x)))) == PHOTO + MAP


def test_what_is_not_computed_together_is_stored_twice() -> None:
    assert activation_peak(network(lambda x: layers.ReLU(max_value=3.0)(same()(x)))) == 2 * MAP
    shared = network(lambda x: (lambda y: layers.Concatenate()([layers.ReLU()(y), y]))(same()(x)))
    assert activation_peak(shared) == 4 * MAP


def test_a_shortcut_waits_until_it_is_added() -> None:
    def body(x: Any) -> Any:
        y = same()(x)
        return layers.ReLU()(layers.Add()([same()(same()(y)), y]))

    assert activation_peak(network(body)) == 3 * MAP


@pytest.mark.parametrize("form", [lambda x: layers.Activation("swish")(same()(x)), same(activation="silu")])
def test_swish_needs_a_sigmoid_beside_it(form: Any) -> None:
    assert activation_peak(network(form)) == 3 * MAP


def test_a_separable_convolution_stores_its_middle() -> None:
    made = network(lambda x: layers.SeparableConv2D(16, 3, padding="same", depth_multiplier=2)(x))
    assert activation_peak(made) == 2 * PHOTO + MAP


def test_padding_counts_unless_a_convolution_takes_it_up() -> None:
    def padded(amount: Any) -> int:
        return activation_peak(
            network(lambda x: layers.Conv2D(16, 3, strides=2, padding="valid")(layers.ZeroPadding2D(amount)(x)))
        )

    assert padded(((0, 1), (0, 1))) == PHOTO + MAP // 4
    assert padded(1) == -(-10 * 10 * 3 // 16) * 16 + MAP // 4 > PHOTO + MAP // 4


def converted(model: Any, folder: Path) -> bytes:
    from featherlite.models.convert import convert
    from featherlite.models.slim import slim

    model.save(folder / "network.keras")
    photos = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]), dtype=np.uint8)
    convert(folder / "network.keras", folder / "network.tflite", "int8", photos)
    return slim((folder / "network.tflite").read_bytes(), {})


def feathernet() -> Any:
    from featherlite.models.backbones import Order, card_of, family_of

    base = family_of(card_of("feathernet")).build(Order(card_of("feathernet"), 48, 48))
    return keras.Model(base.input, layers.Dense(3)(layers.GlobalAveragePooling2D()(base.output)))


def mobilenet() -> Any:
    base = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, include_top=False, pooling="avg")
    return keras.Model(base.input, layers.Dense(3)(base.output))


@pytest.mark.parametrize("make", [feathernet, pytest.param(mobilenet, marks=pytest.mark.slow)])
def test_it_is_the_artefact_s_own_and_below_the_device_s(make: Callable[[], Any], tmp_path: Path) -> None:
    from featherlite.runtime.interpreter import TFLMRuntime

    model = make()
    data = converted(model, tmp_path)
    estimate = activation_peak(model)
    assert estimate == activation_bytes(inspect(data))
    device = TFLMRuntime(data)
    assert estimate <= device.arena_activation_bytes < 1.25 * estimate
    assert estimate < device.arena_bytes
