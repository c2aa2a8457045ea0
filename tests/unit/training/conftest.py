"""Photos that a few steps can learn, networks that a few steps can train, and a context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.data.photos import PhotoSet
from featherlite.step import Context

PX = 16


def colored_photos(count: int, seed: int, split: str = "train", classes: int = 3) -> PhotoSet:
    """Noise in which one color channel is brighter: the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = random.integers(0, 180, (count, PX, PX, 3))
    images[np.arange(count), :, :, labels] += 60
    names = tuple("abc"[:classes])
    paths = tuple(f"{split}/{i}.png" for i in range(count))
    return PhotoSet(images.astype(np.uint8), labels.astype(np.int64), paths, names, split)


def tiny_network(seed: int = 1, momentum: float = 0.9, dropout: float = 0.2, classes: int = 3) -> Any:
    """Convolution, BatchNorm and a head with dropout: about 150 parameters."""
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((PX, PX, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(momentum=momentum, name="norm")(x)
    x = keras.layers.ReLU(6.0, name="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="head_logits")(x), name="tiny")


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Context]:
    """Makes contexts over one resume folder, each with a scratch folder of its own."""
    made = iter(range(100))

    def make(seed: int = 5, **options: Any) -> Context:
        scratch = tmp_path / f"scratch{next(made)}"
        scratch.mkdir()
        return Context(seed, scratch, tmp_path / "resume", tmp_path / "cache", **options)

    return make


def block_network(*, norm: bool = False, seed: int = 1) -> Any:
    """Three blocks (a, b, c) of convolution, perhaps BatchNorm, and ReLU, with a plain head: takes any input size."""
    import keras

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((PX, PX, 3), name="image")
    for name in "abc":
        x = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=not norm, name=f"{name}_conv")(x)
        if norm:
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head_logits")(x), name="blocks")
