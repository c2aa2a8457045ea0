"""Conversion: the contract of artefacts, and refusals that name what is in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import ExportError, MissingExtraError, RequestError
from featherlite.models import convert as module
from featherlite.models.convert import convert
from featherlite.models.slim import slim
from featherlite.preprocess import Preprocess, network_input
from featherlite.runtime.flatbuffer import inspect
from featherlite.runtime.interpreter import TFLMRuntime, open_runtime

ARTEFACTS = Path(__file__).parents[1] / "runtime" / "artefacts"


def network(path: Path, middle: Callable[[Any], Any], policy: str = "float32") -> Any:
    """A small random network on 16x16 photos, saved; `middle` is applied between its convolutions."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    options = {"dtype": policy}
    photo = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, 2, padding="same", **options)(photo)
    x = middle(keras.layers.BatchNormalization(**options)(x))
    x = keras.layers.GlobalAveragePooling2D(**options)(x)
    model = keras.Model(photo, keras.layers.Dense(3, **options)(x))
    model.save(path)
    return model


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    """Photos that hold neither black nor white."""
    return np.random.default_rng(4).integers(30, 200, (30, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def keras_net(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    path = tmp_path_factory.mktemp("net") / "model with a space.keras"
    return path, network(path, lambda x: keras.layers.ReLU(6)(x))


@pytest.fixture(scope="module")
def int8(keras_net: tuple[Path, Any], photos: NDArray[np.uint8]) -> bytes:
    out = keras_net[0].with_name("model.tflite")
    convert(keras_net[0], out, "int8", photos)
    assert sorted(path.name for path in out.parent.iterdir()) == ["model with a space.keras", "model.tflite"]
    return out.read_bytes()


def test_int8_input_is_exact_though_no_photo_is_black_or_white(int8: bytes) -> None:
    facts = inspect(int8)
    assert (facts.input.scale, facts.input.zero_point) == (1 / 128, 0)
    assert (facts.input.dtype, facts.output.dtype) == ("int8", "int8")
    assert facts.int8_only
    assert [op.name for op in facts.ops] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    per_channel = [tensor.channels for tensor in facts.tensors if len(tensor.shape) == 4 and tensor.constant_bytes]
    assert per_channel == [8]


def test_output_range_is_the_true_extremes_of_the_set(
    int8: bytes, keras_net: tuple[Path, Any], photos: NDArray[np.uint8]
) -> None:
    output = inspect(int8).output
    assert output.scale is not None
    assert output.zero_point is not None
    corners = photos.copy()
    corners[0, 0, 0], corners[0, -1, -1] = 0, 255
    logits = keras_net[1].predict(network_input(corners), verbose=0)
    low, high = (-128 - output.zero_point) * output.scale, (127 - output.zero_point) * output.scale
    # Zero has to be representable, so the range includes it; rounding the zero point moves it by half a step.
    assert abs(low - min(0.0, logits.min())) < output.scale
    assert abs(high - max(0.0, logits.max())) < output.scale


def test_int8_agrees_with_keras(int8: bytes, keras_net: tuple[Path, Any], photos: NDArray[np.uint8]) -> None:
    runtime = open_runtime("litert_reference", int8)
    assert runtime.facts.output.scale is not None
    expected = keras_net[1].predict(network_input(photos), verbose=0)
    assert np.abs(runtime.run(photos) - expected).max() < 6 * runtime.facts.output.scale


@pytest.mark.slow
def test_network_of_mixed_precision_becomes_float32(tmp_path: Path, photos: NDArray[np.uint8]) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    model = network(tmp_path / "m.keras", lambda x: keras.layers.ReLU(6, dtype="mixed_float16")(x), "mixed_float16")
    convert(tmp_path / "m.keras", tmp_path / "m.tflite", "float32")
    runtime = open_runtime("litert", tmp_path / "m.tflite")
    assert {tensor.dtype for tensor in runtime.facts.tensors} <= {"float32", "int32"}
    expected = model.predict(network_input(photos), verbose=0).astype(np.float32)
    np.testing.assert_allclose(runtime.run(photos), expected, atol=0.02)


def test_operation_without_int8_is_named(tmp_path: Path, photos: NDArray[np.uint8]) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    network(tmp_path / "m.keras", keras.ops.sin)
    with pytest.raises(ExportError, match=r"not in int8: SIN \(layer 'sin'\)"):
        convert(tmp_path / "m.keras", tmp_path / "m.tflite", "int8", photos)
    assert not (tmp_path / "m.tflite").exists()


@pytest.mark.slow
def test_operation_without_kernel_is_named(tmp_path: Path, photos: NDArray[np.uint8]) -> None:
    pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    network(tmp_path / "m.keras", keras.ops.erf)
    with pytest.raises(ExportError, match=r"no int8 kernel for Erf \(layer 'erf'\)"):
        convert(tmp_path / "m.keras", tmp_path / "m.tflite", "int8", photos)


@pytest.mark.slow
def test_photos_of_another_size_are_refused(keras_net: tuple[Path, Any], photos: NDArray[np.uint8]) -> None:
    with pytest.raises(ExportError, match=r"photos are \[8, 16, 3\].*input is \[16, 16, 3\]"):
        convert(keras_net[0], keras_net[0].with_name("other.tflite"), "int8", photos[:, :8])


def test_float_artefact_passes_for_no_int8() -> None:
    facts = inspect((ARTEFACTS / "tiny_float32.tflite").read_bytes())
    with pytest.raises(ExportError, match="CONV_2D, DEPTHWISE_CONV_2D, ADD, MEAN, FULLY_CONNECTED"):
        module._check(module.Converted(facts), "int8")


def test_wrong_requests(tmp_path: Path, photos: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "m.keras"
    there.write_bytes(b"")
    with pytest.raises(RequestError, match="no network at"):
        convert(tmp_path / "absent.keras", tmp_path / "m.tflite", "float32")
    with pytest.raises(RequestError, match="none were given"):
        convert(there, tmp_path / "m.tflite", "int8")
    with pytest.raises(RequestError, match="none were given"):
        convert(there, tmp_path / "m.tflite", "int8", photos[:0])
    with pytest.raises(RequestError, match="not float32"):
        convert(there, tmp_path / "m.tflite", "int8", photos.astype(np.float32))  # type: ignore[arg-type]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"featherlite\[train\]"):
        convert(there, tmp_path / "m.tflite", "float32")


@pytest.mark.slow
def test_file_that_is_no_network_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_bytes(b"not a zip")
    with pytest.raises(ExportError, match="conversion to float32 failed"):
        convert(tmp_path / "m.keras", tmp_path / "m.tflite", "float32")


@pytest.mark.slow
def test_mobilenet_of_imagenet_weights(real_data: Path, tmp_path: Path) -> None:
    """MobileNetV1 0.25 at 128 px with five classes: 310 KB as converted; slimmed to what its weights need."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("tflite_micro")
    keras = pytest.importorskip("keras")
    whole = keras.applications.MobileNet(alpha=0.25, input_shape=(128, 128, 3), weights=None, classes=1000)
    whole.load_weights(real_data / "weights" / "mobilenet_v1_0.25_128_imagenet.weights.h5")
    keras.utils.set_random_seed(0)
    features = keras.layers.GlobalAveragePooling2D()(whole.get_layer("conv_pw_13_relu").output)
    keras.Model(whole.input, keras.layers.Dense(5)(features)).save(tmp_path / "m.keras")
    files = sorted((real_data / "flowers").glob("*/*.jpg"))[::70]
    photos = np.stack([Preprocess(width=128, height=128)(path) for path in files])
    convert(tmp_path / "m.keras", tmp_path / "m.tflite", "int8", photos)
    before = (tmp_path / "m.tflite").read_bytes()
    after = slim(before, {})
    assert len(before) > 305_000
    assert len(after) < 253_000
    assert len(slim(before, {}, keep_bias_scales=False)) < 242_000
    device = TFLMRuntime(after)
    answers = device.run_raw(photos)
    assert device.arena_bytes < 161_000
    assert device.arena_activation_bytes <= 131_072
    assert np.array_equal(answers, open_runtime("litert_reference", before).run_raw(photos))
    by_default = [open_runtime("litert", data).run_raw(photos) for data in (before, after)]
    assert np.array_equal(*by_default)
    assert np.abs(by_default[0].astype(int) - answers).max() <= 6
