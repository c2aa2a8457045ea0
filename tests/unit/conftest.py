"""A bundle whose answers are known: three classes told apart by their color, by a network with weights set by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.bundle import Bundle, Label, sha256_of
from featherlite.preprocess import Preprocess
from featherlite.step import Context

PX = 24
CLASSES = ("blue", "green", "red")
PER_SPLIT = {"train": 8, "val": 2, "test": 8}

MakeContext = Callable[[], Context]


@pytest.fixture(scope="session")
def color_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 photos a class, each a noisy patch in which one channel is brighter. Read only."""
    root = tmp_path_factory.mktemp("colors")
    random = np.random.default_rng(5)
    for position, name in enumerate(CLASSES):
        (root / name).mkdir()
        for number in range(sum(PER_SPLIT.values())):
            pixels = random.integers(40, 170, (PX, PX, 3))
            pixels[..., 2 - position] += random.integers(30, 80)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture(scope="session")
def make_context(color_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeContext:
    """Makes a context with empty scratch folders; the cache of decoded photos is shared."""
    cache = tmp_path_factory.mktemp("photo-cache")

    def make() -> Context:
        work = tmp_path_factory.mktemp("work")
        for folder in ("scratch", "resume"):
            (work / folder).mkdir()
        return Context(3, work / "scratch", work / "resume", cache, color_photos)

    return make


def color_network() -> Any:
    """Two convolutions that keep each channel's brightness, pooled: logits are 8 (mean blue, green, red)."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((PX, PX, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6", name="stem")(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="mix")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="head_logits")(x), name="colors")
    random = np.random.default_rng(2)
    stem, mix = random.normal(0, 0.02, (3, 3, 3, 8)), random.normal(0, 0.01, (3, 3, 8, 1))
    dense = random.normal(0, 0.02, (8, 3))
    for channel in range(3):
        stem[1, 1, channel, channel] += 1.0
        mix[1, 1, channel, 0] += 1.0
        dense[channel, 2 - channel] += 8.0
    model.get_layer("stem").set_weights([stem, np.ones(8)])
    model.get_layer("mix").set_weights([mix, np.full(8, 0.1)])
    model.get_layer("head_logits").set_weights([dense, np.full(3, -8.0)])
    return model


@pytest.fixture(scope="session")
def color_bundle(color_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The network with its splits, labels and preprocessing; nothing measured, nothing exported."""
    from featherlite.data.splits import Splits, write_splits
    from featherlite.models.network import network_bytes

    of_number = [split for split, count in PER_SPLIT.items() for _ in range(count)]
    splits = Splits.from_rows(
        (f"{name}/{file.name}", sha256_of(file), name, None, of_number[int(file.stem)])
        for name in CLASSES
        for file in sorted((color_photos / name).iterdir())
    )
    bundle = Bundle().with_files({"splits.parquet": write_splits(splits)})
    bundle = bundle.with_labels(tuple(Label(name=name) for name in CLASSES))
    bundle = bundle.with_json("preprocess.json", Preprocess(width=PX, height=PX).model_dump())
    bundle = bundle.with_network(network_bytes(color_network()))
    return bundle.save(tmp_path_factory.mktemp("bundles") / "colors")


@pytest.fixture(scope="session")
def quantized(color_bundle: Bundle, make_context: MakeContext, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle after `quantize`."""
    from featherlite.quantize.quantize import QuantizeConfig, quantize

    made = quantize(color_bundle, QuantizeConfig(photos=24), make_context())
    return made.save(tmp_path_factory.mktemp("bundles") / "quantized")


@pytest.fixture(scope="session")
def exported(quantized: Bundle, make_context: MakeContext) -> Bundle:
    """The bundle after `quantize` and `export` in both float formats."""
    from featherlite.export.export import ExportConfig, export

    return export(quantized, ExportConfig(formats=("float32", "float16")), make_context())
