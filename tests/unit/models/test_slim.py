"""Slimming: fewer bytes, bit for bit the same answers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import BundleError, ExportError
from featherlite.models.slim import slim
from featherlite.runtime.flatbuffer import inspect, read_metadata
from featherlite.runtime.flattable import root_table
from featherlite.runtime.interpreter import TFLMRuntime, open_runtime

ARTEFACTS = Path(__file__).parents[1] / "runtime" / "artefacts"
ARTEFACT = {kind: (ARTEFACTS / f"tiny_{kind}.tflite").read_bytes() for kind in ("int8", "float32", "float16")}
INT8 = ARTEFACT["int8"]


@pytest.fixture(scope="module")
def photos() -> NDArray[np.uint8]:
    return np.random.default_rng(6).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)


def rebuilt(change: Any) -> bytes:
    """The int8 artefact after `change` of its object in the generated schema."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(INT8), 0))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("kind", ["int8", "float32", "float16"])
@pytest.mark.parametrize("runtime", ["litert", "litert_reference"])
def test_answers_are_identical_in_litert(kind: str, runtime: str, photos: NDArray[np.uint8]) -> None:
    before, after = ARTEFACT[kind], slim(ARTEFACT[kind], {"featherlite.labels": b'["a", "b", "c"]'})
    assert len(after) < len(before)
    assert np.array_equal(open_runtime(runtime, before).run_raw(photos), open_runtime(runtime, after).run_raw(photos))


@pytest.mark.parametrize("keep_bias_scales", [True, False])
def test_answers_and_arena_are_identical_in_tflm(keep_bias_scales: bool, photos: NDArray[np.uint8]) -> None:
    pytest.importorskip("tflite_micro")
    before = TFLMRuntime(INT8)
    after = TFLMRuntime(slim(INT8, {}, keep_bias_scales=keep_bias_scales))
    assert np.array_equal(before.run_raw(photos), after.run_raw(photos))
    assert after.arena_bytes <= before.arena_bytes


def test_dropping_bias_scales_keeps_the_reference_kernels(photos: NDArray[np.uint8]) -> None:
    bare = slim(INT8, {}, keep_bias_scales=False)
    # Biases of 8 + 8 + 8 + 3 channels, four bytes a scale; zero points are shared.
    assert len(slim(INT8, {})) - len(bare) >= 4 * 27
    before = open_runtime("litert_reference", INT8).run_raw(photos)
    assert np.array_equal(before, open_runtime("litert_reference", bare).run_raw(photos))


def test_facts_stay_and_names_go() -> None:
    before, after = inspect(INT8), inspect(slim(INT8, {}))
    assert after.ops == before.ops
    assert after.weights_bytes == before.weights_bytes
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert (old.dtype, old.shape, old.constant_bytes) == (new.dtype, new.shape, new.constant_bytes)
        assert (old.channels, old.scale, old.zero_point) == (new.channels, new.scale, new.zero_point)
    assert (after.input.name, after.output.name) == ("x", "y")
    assert {tensor.name for tensor in after.tensors} == {"x", "y", ""}
    assert after.metadata == ()


def test_equal_vectors_are_stored_once() -> None:
    tensors = root_table(slim(INT8, {})).tables(2)[0].tables(0)
    places: dict[bytes, set[int]] = {}
    for table in tensors:
        quantization = table.table(4)
        if quantization is not None and len(quantization.wide(3)) > 1:
            content = bytes(quantization.blob(3, 8))
            places.setdefault(content, set()).add(quantization._target(3))
    assert bytes(8 * 8) in places
    assert all(len(where) == 1 for where in places.values())


def test_constants_are_aligned() -> None:
    data = slim(INT8, {"featherlite.preprocess": b"odd"})
    model = root_table(data)
    constants = {table.whole(2, "I") for table in model.tables(2)[0].tables(0)} - {0}
    assert constants
    assert data[4:8] == b"TFL3"
    for number in constants:
        assert (model.tables(4)[number]._target(0) + 4) % 16 == 0


def test_equal_constants_share_a_buffer() -> None:
    def duplicate(model: Any) -> None:
        for tensor, buffer in ((t, model.buffers[t.buffer]) for t in model.subgraphs[0].tensors):
            if tensor.type == 2 and len(tensor.shape) == 1 and tensor.shape[0] == 8:
                buffer.data = np.zeros(32, np.uint8)

    data = rebuilt(duplicate)
    biases = [t for t in inspect(data).tensors if t.dtype == "int32" and t.shape == (8,)]
    assert len(biases) == 3
    assert inspect(data).weights_bytes - inspect(slim(data, {})).weights_bytes == 2 * 32


def test_slimming_twice_changes_nothing() -> None:
    once = slim(INT8, {})
    assert slim(once, {}) == once


def test_metadata_travels_and_is_deflated_where_that_helps() -> None:
    labels = json.dumps([f"Species number {n}" for n in range(419)]).encode()
    preprocess = b"\x01\xff"
    data = slim(INT8, {"featherlite.labels": labels, "featherlite.preprocess": preprocess})
    assert inspect(data).metadata == ("featherlite.labels", "featherlite.preprocess")
    assert read_metadata(data, "featherlite.labels") == labels
    assert read_metadata(data, "featherlite.preprocess") == preprocess
    assert zlib.compress(labels, 9) in data
    assert len(data) - len(slim(INT8, {})) < len(labels) / 3


def test_what_would_be_lost_is_refused() -> None:
    def custom(model: Any) -> None:
        model.operatorCodes[0].customCode = "Mine"

    def stateful(model: Any) -> None:
        model.subgraphs[0].tensors[0].isVariable = True

    def two_inputs(model: Any) -> None:
        model.subgraphs[0].inputs = [0, 1]

    for change, part in ((custom, "custom operation"), (stateful, "state"), (two_inputs, "one input and one output")):
        with pytest.raises(ExportError, match=part):
            slim(rebuilt(change), {})
    with pytest.raises(BundleError):
        slim(INT8[:-100], {})


@pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="needs Vela (ethos-u-vela)")
def test_vela_compiles_it_to_the_same_program(tmp_path: Path) -> None:
    programs = []
    for name, data in (("before", INT8), ("after", slim(INT8, {}))):
        (tmp_path / f"{name}.tflite").write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-m", "ethosu.vela", f"{name}.tflite", "--accelerator-config", "ethos-u55-128"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        graph = root_table((tmp_path / "output" / f"{name}_vela.tflite").read_bytes())
        buffers = graph.tables(4)
        used = {table.whole(2, "I") for table in graph.tables(2)[0].tables(0)}
        programs.append(sorted(bytes(buffers[number].blob(0)) for number in used))
    assert max(map(len, programs[0])) > 500
    assert programs[0] == programs[1]


@pytest.mark.slow
def test_tensorflow_lite_agrees(photos: NDArray[np.uint8]) -> None:
    lite = pytest.importorskip("tensorflow").lite
    answers = []
    for data in (INT8, slim(INT8, {})):
        interpreter = lite.Interpreter(model_content=data)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (photos[:1] ^ 128).view(np.int8))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert np.array_equal(*answers)
