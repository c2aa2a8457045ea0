"""The runtimes: the same photos give the same numbers, and wrong requests a clear line."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import BundleError, ExportError, MissingExtraError, RequestError
from featherlite.runtime import interpreter as module
from featherlite.runtime.flattable import root_table
from featherlite.runtime.interpreter import RUNTIMES, TFLMRuntime, open_runtime
from featherlite.runtime.worker import run_worker

ARTEFACTS = Path(__file__).parent / "artefacts"
INT8 = (ARTEFACTS / "tiny_int8.tflite").read_bytes()
FLOAT32 = (ARTEFACTS / "tiny_float32.tflite").read_bytes()
FLOAT16 = (ARTEFACTS / "tiny_float16.tflite").read_bytes()

needs_tflm = pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="needs the extra 'mcu'")


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


def test_int8_input_is_exactly_pixel_minus_128() -> None:
    runtime = open_runtime("litert", INT8)
    levels = np.arange(256, dtype=np.uint8)
    quantized = runtime.quantized(levels)
    assert quantized.dtype == np.int8
    assert quantized.tolist() == list(range(-128, 128))
    floats = open_runtime("litert", FLOAT32).quantized(levels)
    assert floats.dtype == np.float32
    assert floats[[0, 128, 255]].tolist() == [-1.0, 0.0, 127 / 128]


@pytest.mark.parametrize("name", ["litert", "litert_reference"])
def test_logits_are_the_dequantized_output(name: str, photos: NDArray[np.uint8]) -> None:
    runtime = open_runtime(name, INT8)
    raw, logits = runtime.run_raw(photos), runtime.run(photos)
    assert raw.dtype == np.int8
    assert raw.shape == (40, 3)
    scale, zero_point = runtime.facts.output.scale, runtime.facts.output.zero_point
    assert scale is not None
    assert zero_point is not None
    np.testing.assert_allclose(logits, (raw.astype(float) - zero_point) * scale, rtol=1e-6)
    assert len(np.unique(raw, axis=0)) > 10


@pytest.mark.parametrize("data", [FLOAT32, FLOAT16], ids=["float32", "float16"])
def test_float_artefacts_agree_with_int8(data: bytes) -> None:
    # The representative photos themselves: what lies outside of their range is clipped in int8.
    photos = np.random.default_rng(1).integers(20, 230, (24, 16, 16, 3), dtype=np.uint8)
    runtime = open_runtime("litert", data)
    logits = runtime.run(photos)
    assert logits.dtype == np.float32
    assert np.array_equal(logits, runtime.run_raw(photos))
    int8 = open_runtime("litert_reference", INT8)
    assert int8.facts.output.scale is not None
    assert np.abs(logits - int8.run(photos)).max() < 8 * int8.facts.output.scale


def test_threads_do_not_change_answers(photos: NDArray[np.uint8]) -> None:
    for name in ("litert", "litert_reference"):
        assert np.array_equal(open_runtime(name, INT8, 3).run_raw(photos), open_runtime(name, INT8).run_raw(photos))


@needs_tflm
def test_tflm_agrees_with_the_reference_kernels(photos: NDArray[np.uint8]) -> None:
    runtime = TFLMRuntime(INT8, threads=2)
    raw = runtime.run_raw(photos)
    difference = np.abs(raw.astype(int) - open_runtime("litert_reference", INT8).run_raw(photos))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05
    assert np.array_equal(raw, TFLMRuntime(INT8).run_raw(photos))
    # The planner must hold the first convolution's output, 8*8*8 bytes, beside the residual branch's.
    assert runtime.arena_activation_bytes >= 2 * 512
    assert runtime.arena_activation_bytes < runtime.arena_bytes < 20_000


@needs_tflm
def test_tflm_tells_why_it_refuses(photos: NDArray[np.uint8]) -> None:
    with pytest.raises(ExportError, match="TensorFlow Lite Micro failed"):
        TFLMRuntime(FLOAT16).run_raw(photos)


def test_tflm_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"featherlite\[mcu\]"):
        open_runtime("tflm", INT8)


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_wrong_photos_are_refused(name: str, photos: NDArray[np.uint8]) -> None:
    if name == "tflm":
        pytest.importorskip("tflite_micro")
    runtime = open_runtime(name, INT8)
    for wrong in (photos[:, :8], photos.astype(np.float32), photos[0]):
        with pytest.raises(RequestError, match="takes uint8 photos"):
            runtime.run_raw(wrong)
    none = runtime.run_raw(photos[:0])
    assert (none.shape, none.dtype) == ((0, 3), np.int8)


def test_unknown_runtime_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="litert_reference"):
        open_runtime("litert_referense", INT8)
    with pytest.raises(RequestError, match="at least 1"):
        open_runtime("litert", INT8, threads=0)


def test_foreign_input_scale_is_refused() -> None:
    foreign = bytearray(INT8)
    graph = root_table(INT8).tables(2)[0]
    quantization = graph.tables(0)[graph.indices(1)[0]].table(4)
    assert quantization is not None
    struct.pack_into("<f", foreign, quantization._target(2) + 4, 1 / 127)
    with pytest.raises(BundleError, match="instead of 1/128"):
        open_runtime("litert", bytes(foreign))


def test_no_notice_on_stderr_but_everything_else(capfd: pytest.CaptureFixture[str]) -> None:
    open_runtime("litert", INT8)
    assert capfd.readouterr().err == ""
    import os

    with module._without_delegate_notice():
        os.write(2, b"kept\nINFO: " + module.NOTICE + b" for CPU.\n")
    assert capfd.readouterr().err == "kept\n"


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "crash_worker.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (tmp_path / "slow_worker.py").write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "failing_worker.py").write_text("raise OSError('no such thing')\n")
    (tmp_path / "cwd_worker.py").write_text("import sys\nsys.exit('beside' if '' in sys.path else 0)\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("crash_worker", "crashed with SIGSEGV"),
        ("slow_worker", "longer than 0.5 s"),
        ("failing_worker", "no such thing"),
    ],
)
def test_a_worker_that_fails_is_an_error(workers: Path, name: str, part: str) -> None:
    with pytest.raises(ExportError, match=part):
        run_worker(name, [], what="The test", timeout_s=0.5 if name == "slow_worker" else 30)


def test_worker_does_not_import_from_the_working_folder(workers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = workers / "beside"
    beside.mkdir()
    (beside / "json.py").write_text("raise SystemExit('hijacked')\n")
    (workers / "honest_worker.py").write_text("import json\n")
    monkeypatch.chdir(beside)
    assert run_worker("honest_worker", [], what="The test", timeout_s=30) == ""
