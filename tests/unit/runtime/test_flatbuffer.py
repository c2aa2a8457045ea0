"""What inspection says of a converted network, against hand counts and against LiteRT itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featherlite.errors import BundleError
from featherlite.models.slim import slim
from featherlite.runtime.flatbuffer import contract_fault, inspect, read_metadata

ARTEFACTS = Path(__file__).parent / "artefacts"
INT8 = (ARTEFACTS / "tiny_int8.tflite").read_bytes()
FLOAT32 = (ARTEFACTS / "tiny_float32.tflite").read_bytes()
FLOAT16 = (ARTEFACTS / "tiny_float16.tflite").read_bytes()


def test_facts_of_int8_network() -> None:
    facts = inspect(INT8)
    assert [op.name for op in facts.ops] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert facts.op_counts == {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "ADD": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    assert [op.output_shape for op in facts.ops] == [(1, 8, 8, 8)] * 4 + [(1, 8), (1, 3)]
    assert facts.int8_only
    assert facts.not_int8 == ()
    assert (facts.input.dtype, facts.input.shape) == ("int8", (1, 16, 16, 3))
    assert (facts.input.scale, facts.input.zero_point) == (1 / 128, 0)
    assert (facts.output.dtype, facts.output.shape) == ("int8", (1, 3))
    assert facts.flash_bytes == len(INT8)
    # kernels 3*3*3*8 + 3*3*8 + 8*8 + 8*3; biases 8 + 8 + 8 + 3 and the mean's two axes, of four bytes each
    assert facts.weights_bytes == (216 + 72 + 64 + 24) + 4 * 27 + 4 * 2
    assert contract_fault(facts) is None


@pytest.mark.parametrize("data", [INT8, FLOAT32, FLOAT16], ids=["int8", "float32", "float16"])
def test_tensors_agree_with_litert(data: bytes) -> None:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    details = interpreter_module.Interpreter(model_content=data).get_tensor_details()
    facts = inspect(data)
    for tensor in facts.tensors:
        theirs = details[tensor.index]
        assert tensor.name == theirs["name"]
        assert tensor.shape == tuple(theirs["shape"])
        assert tensor.dtype == np.dtype(theirs["dtype"]).name
        assert tensor.channels == len(theirs["quantization_parameters"]["scales"])
        if tensor.scale is not None:
            assert (tensor.scale, tensor.zero_point) == theirs["quantization"]


@pytest.mark.parametrize("data", [FLOAT32, FLOAT16], ids=["float32", "float16"])
def test_float_is_not_int8(data: bytes) -> None:
    facts = inspect(data)
    assert not facts.int8_only
    assert any("from CONV_2D" in fault for fault in facts.not_int8)
    assert contract_fault(facts) is None


def test_contract_names_the_fault() -> None:
    facts = inspect(INT8)
    faults = {
        "scale 0.0039": replace(facts, inputs=(replace(facts.input, scale=1 / 255),)),
        "zero point 1 ": replace(facts, inputs=(replace(facts.input, zero_point=1),)),
        "[2, 16, 16, 3]": replace(facts, inputs=(replace(facts.input, shape=(2, 16, 16, 3)),)),
        "[1, 3, 1, 1]": replace(facts, outputs=(replace(facts.output, shape=(1, 3, 1, 1)),)),
        "takes int8 and gives float32": replace(facts, outputs=(replace(facts.output, dtype="float32"),)),
        "takes uint8": replace(facts, inputs=(replace(facts.input, dtype="uint8"),)),
        "2 inputs": replace(facts, inputs=(facts.input, facts.input)),
        "output has scale None": replace(facts, outputs=(replace(facts.output, scale=None),)),
    }
    for part, broken in faults.items():
        assert part in (contract_fault(broken) or "")


def test_metadata_of_converter_and_of_none() -> None:
    assert "min_runtime_version" in inspect(INT8).metadata
    assert read_metadata(INT8, "featherlite.labels") is None


def test_metadata_that_inflates_without_end_is_refused() -> None:
    bomb = slim(INT8, {"featherlite.labels": bytes(17 << 20)})
    assert len(bomb) < 30_000
    with pytest.raises(BundleError, match="16 MiB"):
        read_metadata(bomb, "featherlite.labels")
