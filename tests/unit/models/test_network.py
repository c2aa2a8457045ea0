"""The network of a bundle: counted by hand, written the same every time, and never run as code."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, MissingExtraError
from featherlite.models.network import (
    count_macs,
    count_parameters,
    float32_bytes,
    load_network,
    network_bytes,
    network_from,
)

keras = pytest.importorskip("keras")
layers = keras.layers


@pytest.fixture(scope="module")
def small() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="photo")
    x = layers.Conv2D(4, 3, 2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(2, name="head_logits")(layers.GlobalAveragePooling2D()(x)))


def macs_of(layer: Any, shape: tuple[int, ...]) -> int:
    inputs = keras.Input(shape)
    return count_macs(keras.Model(inputs, layer(inputs)))


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # 9x9, stride 2, valid: 4x4 positions, 3x3x3 weights a channel, 8 channels
        (lambda: layers.Conv2D(8, 3, 2), (9, 9, 3), 4 * 4 * 3 * 3 * 3 * 8),
        # 'same': ceil(9 / 2) = 5
        (lambda: layers.Conv2D(8, 3, 2, padding="same"), (9, 9, 3), 5 * 5 * 27 * 8),
        # two groups: every output channel sees half of the inputs
        (lambda: layers.Conv2D(8, 1, groups=2), (4, 4, 6), 4 * 4 * 3 * 8),
        (lambda: layers.DepthwiseConv2D(5, padding="same"), (6, 4, 7), 6 * 4 * 25 * 7),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 3), 3 * 3 * 9 * 3 * 2),
        (lambda: layers.SeparableConv2D(10, 3, padding="same"), (4, 4, 6), 16 * (9 * 6 + 6 * 10)),
        (lambda: layers.Dense(5), (7,), 35),
        (lambda: layers.Dense(5), (4, 4, 7), 4 * 4 * 35),
        (lambda: layers.Conv2DTranspose(5, 2, 2), (4, 4, 7), 4 * 4 * 7 * 2 * 2 * 5),
        (lambda: layers.MaxPooling2D(), (4, 4, 7), 0),
    ],
)
def test_multiply_accumulates_by_hand(layer: Any, shape: tuple[int, ...], macs: int) -> None:
    assert macs_of(layer(), shape) == macs


def test_counts_reach_into_nested_networks(small: Any) -> None:
    by_hand = 4 * 4 * 27 * 4 + 4 * 2
    assert count_macs(small) == by_hand
    inputs = keras.Input((8, 8, 3))
    assert count_macs(keras.Model(inputs, small(inputs))) == by_hand
    assert count_parameters(small) == 27 * 4 + 4 * 4 + 4 * 2 + 2
    assert float32_bytes(small) == 4 * count_parameters(small)


def test_a_network_survives_the_bundle(small: Any, tmp_path: Path) -> None:
    data = network_bytes(small)
    assert network_bytes(small) == data
    photo = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    bundle = Bundle().with_network(data)
    for kept in (bundle, bundle.save(tmp_path / "bundle")):
        again = load_network(kept)
        np.testing.assert_array_equal(again.predict(photo, verbose=0), small.predict(photo, verbose=0))
        assert not again.compiled


def test_a_bundle_without_network_says_so() -> None:
    with pytest.raises(BundleError, match=r"has no model\.keras"):
        load_network(Bundle())


def changed(data: bytes, **members: bytes) -> bytes:
    """The archive with members replaced; `config` stands for config.json."""
    names = {"config": "config.json", "weights": "model.weights.h5", "extra": "../evil.py"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()}
        contents |= {names[key]: value for key, value in members.items()}
        for name, content in contents.items():
            new.writestr(name, content)
    return buffer.getvalue()


def config_of(data: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        config: dict[str, Any] = json.loads(archive.read("config.json"))
    return config


def with_layer(data: bytes, **entry: Any) -> bytes:
    config = config_of(data)
    config["config"]["layers"][2] |= entry
    return changed(data, config=json.dumps(config).encode())


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "os", "class_name": "system"},
        {"module": "keras.layers", "class_name": "Lambda"},
        {"module": "featherlite.bundle", "class_name": "Bundle"},
        {"module": None, "class_name": "TFSMLayer"},
        {"module": "builtins", "class_name": "exec"},
    ],
)
def test_foreign_classes_are_refused_before_keras_reads_them(small: Any, entry: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=f"{entry['class_name']}', which is not a stock layer of Keras"):
        network_from(with_layer(network_bytes(small), **entry))


def test_a_real_lambda_is_refused() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Lambda(lambda x: x * 2, output_shape=(4,))(inputs))
    with pytest.raises(BundleError, match="not a stock layer"):
        network_from(network_bytes(model))


def test_damaged_archives_are_refused(small: Any) -> None:
    data = network_bytes(small)
    for broken in (b"", b"PK", data[: len(data) // 2], changed(data, config=b"{"), changed(data, config=b"[]")):
        with pytest.raises(BundleError):
            network_from(broken)
    with pytest.raises(BundleError, match="cannot be loaded safely"):
        network_from(changed(data, weights=b"no HDF5"))
    with pytest.raises(BundleError, match="unexpected file"):
        network_from(changed(data, extra=b"import os"))


def test_without_keras_the_extra_is_named(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = network_bytes(small)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featherlite\[train\]'"):
        network_from(data)


def test_bytes_tell_nothing_of_where_objects_lay_in_memory() -> None:
    import keras

    def network(blocker: int) -> keras.Model:
        others = [keras.initializers.Zeros() for _ in range(blocker)]  # so that the shared one lies elsewhere
        shared = keras.initializers.Zeros()
        assert len(others) == blocker
        inputs = keras.Input((8, 8, 3), name="photo")
        x = keras.layers.Conv2D(2, 3, kernel_initializer=shared, bias_initializer=shared, name="one")(inputs)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        return keras.Model(inputs, keras.layers.Dense(2, kernel_initializer=shared, name="logits")(x), name="net")

    first, second = network(0), network(1000)
    assert network_bytes(first) == network_bytes(second)
    again = network_from(network_bytes(first))
    assert again.get_layer("one").kernel_initializer.__class__ is keras.initializers.Zeros
