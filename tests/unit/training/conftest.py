"""Photos that a few steps can learn, networks that a few steps can train, and a context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.data.photos import PhotoSet
from featherlite.preprocess import Preprocess
from featherlite.step import Context
from featherlite.training.distill import DistillConfig
from featherlite.training.teachers.classroom import Classroom

from .distillation import QUICK, MakeContext

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


def block_network(*, norm: bool = False, seed: int = 1, px: int = PX) -> Any:
    """Three blocks (a, b, c) of convolution, perhaps BatchNorm, and ReLU, with a plain head: takes any input size."""
    import keras

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((px, px, 3), name="image")
    for name in "abc":
        x = keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=not norm, name=f"{name}_conv")(x)
        if norm:
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head_logits")(x), name="blocks")


@pytest.fixture(scope="module")
def student(color_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An untrained network of 16 px on the colors' splits; its teacher sees 24 px."""
    from featherlite.models.network import network_bytes

    bundle = color_bundle.with_network(network_bytes(tiny_network()))
    bundle = bundle.with_json("preprocess.json", Preprocess(width=16, height=16).model_dump())
    return bundle.save(tmp_path_factory.mktemp("students") / "student")


@pytest.fixture
def fresh(color_photos: Path, tmp_path: Path) -> MakeContext:
    """Contexts with a cache of the test's own."""
    made = iter(range(100))

    def make(**options: Any) -> Context:
        work = tmp_path / f"context{next(made)}"
        for folder in ("scratch", "resume"):
            (work / folder).mkdir(parents=True)
        return Context(3, work / "scratch", work / "resume", tmp_path / "cache", color_photos, **options)

    return make


@pytest.fixture
def room_of(student: Bundle, color_bundle: Bundle, fresh: MakeContext) -> Callable[..., Classroom]:
    """What a distillation by the network that knows the colors begins with."""

    def make(**options: Any) -> Classroom:
        named = {"teacher": [str(color_bundle.home)]} | options
        return Classroom(student, DistillConfig.model_validate(QUICK | named), fresh())

    return make
