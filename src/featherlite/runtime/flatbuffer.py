"""What is inside a .tflite: operations, tensors, quantization, bytes, metadata.

Source: TensorFlow's schema.fbs, version 3, for the numbers of the fields.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import BundleError
from featherlite.runtime.flattable import FlatTable, damaged, root_table

__all__ = [
    "DEFLATED",
    "ITEM_BYTES",
    "MEMORY_PLAN",
    "ArtefactFacts",
    "OpFacts",
    "TensorFacts",
    "contract_fault",
    "inspect",
    "read_metadata",
]

DEFLATED: Final = ".zlib"
"""Ends the name of a metadata entry whose bytes are a zlib stream (RFC 1950)."""

MEMORY_PLAN: Final = "OfflineMemoryAllocation"
"""Names the metadata entry from which TFLM takes the places of tensors: none of a user's, and never deflated."""

MAX_METADATA: Final = 16 << 20
MAX_RANK: Final = 8
MAX_TENSOR_ELEMENTS: Final = 1 << 28
SCALES: Final = (1e-20, 1e6)
"""Scales of trained networks lie far inside of these."""

ITEM_BYTES: Final = {
    "float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2, "int8": 1,
    "float64": 8, "uint64": 8, "uint32": 4, "uint16": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One tensor. `constant_bytes` is 0 for what is computed; `scale` and `zero_point` only where there is one."""

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    constant_bytes: int
    channels: int
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, slots=True)
class OpFacts:
    """One operation, in the order of execution; inputs that are left out are -1."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ArtefactFacts:
    """What a .tflite consists of. `not_int8` names every tensor and operation that keeps it from being pure
    int8. `memory_plan` is where TFLM is to put each tensor, -1 for its own choice; empty where it chooses all.
    """

    flash_bytes: int
    weights_bytes: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    tensors: tuple[TensorFacts, ...]
    ops: tuple[OpFacts, ...]
    op_counts: dict[str, int]
    not_int8: tuple[str, ...]
    metadata: tuple[str, ...]
    memory_plan: tuple[int, ...] = ()

    @property
    def int8_only(self) -> bool:
        """Whether every operation computes in int8 (int32 constants, such as biases and shapes, are allowed)."""
        return not self.not_int8

    @property
    def input(self) -> TensorFacts:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> TensorFacts:
        """The first output."""
        return self.outputs[0]


@cache
def _enum_names(enum: str) -> dict[int, str]:
    """The names of a schema enum by value."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(getattr(schema, enum)).items() if not name.startswith("_")}


def _quantization(
    index: int, table: FlatTable | None, dtype: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scales and zero points, checked: LiteRT does not survive impossible ones, it ends the process."""
    scales = table.floats(2) if table else np.empty(0, np.float32)
    zero_points = table.wide(3) if table else np.empty(0, np.int64)
    axis = table.whole(6, "i") if table else 0
    if len(scales) != len(zero_points) or (dtype == "int8" and not len(scales)):
        raise damaged(f"tensor {index} of {dtype} has {len(scales)} scales and {len(zero_points)} zero points")
    if len(scales) > 1 and (not 0 <= axis < len(shape) or shape[axis] != len(scales)):
        raise damaged(f"tensor {index} of {list(shape)} has {len(scales)} scales along axis {axis}")
    if not np.all((scales > SCALES[0]) & (scales < SCALES[1])):
        raise damaged(f"tensor {index} has a scale that is not a plausible number")
    if dtype == "int8" and not np.all((zero_points >= -128) & (zero_points <= 127)):
        raise damaged(f"tensor {index} has a zero point outside of int8")
    return scales, zero_points


def _tensor(index: int, table: FlatTable, sizes: list[int]) -> TensorFacts:
    shape = table.indices(0)
    if len(shape) > MAX_RANK or any(side < 0 for side in shape) or math.prod(shape) > MAX_TENSOR_ELEMENTS:
        raise damaged(f"tensor {index} has the shape {list(shape)[:MAX_RANK]}")
    kind = table.whole(1, "b")
    dtype = _enum_names("TensorType").get(kind, f"type {kind}").lower()
    buffer = table.whole(2, "I")
    if buffer >= len(sizes):
        raise damaged(f"tensor {index} uses buffer {buffer} of {len(sizes)}")
    constant = sizes[buffer]
    if constant and dtype in ITEM_BYTES and constant != math.prod(shape) * ITEM_BYTES[dtype]:
        raise damaged(f"tensor {index} of {dtype} {list(shape)} has {constant} bytes")
    scales, zero_points = _quantization(index, table.table(4), dtype, shape)
    return TensorFacts(
        index=index,
        name=table.text(3),
        dtype=dtype,
        shape=shape,
        constant_bytes=constant,
        channels=len(scales),
        scale=float(scales[0]) if len(scales) == 1 else None,
        zero_point=int(zero_points[0]) if len(zero_points) == 1 else None,
    )


def _operations(graph: FlatTable, codes: list[str], tensors: tuple[TensorFacts, ...]) -> tuple[OpFacts, ...]:
    ops = []
    for index, table in enumerate(graph.tables(3)):
        code = table.whole(0, "I")
        if code >= len(codes):
            raise damaged(f"operation {index} has the code {code} of {len(codes)}")
        inputs, outputs = table.indices(1), table.indices(2)
        if any(not -1 <= one < len(tensors) for one in inputs) or any(not 0 <= one < len(tensors) for one in outputs):
            raise damaged(f"operation {index} uses a tensor that is not there")
        table.table(4)  # a malformed table of options must not reach a runtime
        shape = tensors[outputs[0]].shape if outputs else ()
        ops.append(OpFacts(index, codes[code], inputs, outputs, shape))
    return tuple(ops)


def _code_name(table: FlatTable) -> str:
    """The name of an operator code; the older, narrower field holds it in files of before 2020."""
    code = max(table.whole(0, "b"), table.whole(3, "i"))
    name = _enum_names("BuiltinOperator").get(code, f"UNKNOWN_{code}")
    return f"CUSTOM {table.text(1)}" if name == "CUSTOM" else name


def _not_int8(tensors: tuple[TensorFacts, ...], ops: tuple[OpFacts, ...]) -> tuple[str, ...]:
    """Each tensor that is neither int8 nor an int32 constant, and each operation of unknown arithmetic."""
    maker = {output: op for op in ops for output in op.outputs}
    faults = []
    for tensor in tensors:
        if tensor.dtype == "int8" or (tensor.dtype == "int32" and tensor.constant_bytes):
            continue
        origin = f"from {maker[tensor.index].name}" if tensor.index in maker else "constant or input"
        faults.append(f"tensor {tensor.index} ({tensor.dtype} {list(tensor.shape)}, {origin})")
    unknown = ("CUSTOM", "UNKNOWN")
    return (*faults, *(f"operation {op.index} ({op.name})" for op in ops if op.name.startswith(unknown)))


def _memory_plan(model: FlatTable, tensors: int) -> tuple[int, ...]:
    """TFLM's plan, checked: it takes the numbers as they are, and would write outside of its arena."""
    content = _content(model, MEMORY_PLAN)
    if content is None:
        return ()
    numbers = np.frombuffer(content, "<i4").tolist() if len(content) == 12 + 4 * tensors else [0, 0, -1]
    if numbers[2] != tensors or not all(-1 <= place <= MAX_TENSOR_ELEMENTS for place in numbers[3:]):
        raise damaged(f"its memory plan does not fit {tensors} tensors, or has an impossible place")
    return tuple(numbers[3:])


def inspect(data: bytes) -> ArtefactFacts:
    """The facts of a .tflite, read from its bytes alone.

    Raises:
        BundleError: it is no .tflite, or an offset, count, index or memory place in it is impossible.
    """
    model = root_table(data)
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise BundleError(
            f"The .tflite holds {len(graphs)} graphs; only one is supported.", "Export without control flow."
        )
    graph = graphs[0]
    sizes = [len(buffer.blob(0)) for buffer in model.tables(4)]
    tables = graph.tables(0)
    tensors = tuple(_tensor(index, table, sizes) for index, table in enumerate(tables))
    codes = [_code_name(code) for code in model.tables(1)]
    ops = _operations(graph, codes, tensors)
    ends = (graph.indices(1), graph.indices(2))
    if any(not 0 <= index < len(tensors) for end in ends for index in end) or not all(ends):
        raise damaged(f"its inputs are {list(ends[0])[:9]} and its outputs {list(ends[1])[:9]}")
    counts: dict[str, int] = {}
    for op in ops:
        counts[op.name] = counts.get(op.name, 0) + 1
    return ArtefactFacts(
        flash_bytes=len(data),
        weights_bytes=sum(sizes[buffer] for buffer in {table.whole(2, "I") for table in tables}),
        inputs=tuple(tensors[index] for index in ends[0]),
        outputs=tuple(tensors[index] for index in ends[1]),
        tensors=tensors,
        ops=ops,
        op_counts=counts,
        not_int8=_not_int8(tensors, ops),
        metadata=tuple(one.text(0).removesuffix(DEFLATED) for one in model.tables(6) if one.text(0) != MEMORY_PLAN),
        memory_plan=_memory_plan(model, len(tensors)),
    )


def contract_fault(facts: ArtefactFacts) -> str | None:
    """How an artefact breaks featherlite's contract, as half a sentence; None where it keeps it.

    The contract: one photo [1, height, width, 3] in, one [1, classes] of logits out, each float32 or int8,
    and an int8 input with scale 1/128 and zero point 0, so that it is exactly `pixel - 128`.
    """
    if len(facts.inputs) != 1 or len(facts.outputs) != 1:
        return f"it has {len(facts.inputs)} inputs and {len(facts.outputs)} outputs instead of one each"
    photo, logits = facts.input, facts.output
    if len(photo.shape) != 4 or photo.shape[0] != 1 or photo.shape[3] != 3 or not all(photo.shape):
        return f"its input is {list(photo.shape)} instead of [1, height, width, 3]"
    if len(logits.shape) != 2 or logits.shape[0] != 1 or not logits.shape[1]:
        return f"its output is {list(logits.shape)} instead of [1, classes]"
    if (photo.dtype, logits.dtype) not in (("int8", "int8"), ("float32", "float32")):
        return f"it takes {photo.dtype} and gives {logits.dtype} instead of int8 or float32 at both ends"
    if photo.dtype == "int8" and (photo.scale, photo.zero_point) != (1 / 128, 0):
        return f"its int8 input has scale {photo.scale} and zero point {photo.zero_point} instead of 1/128 and 0"
    if logits.dtype == "int8" and (
        logits.scale is None or not 0 < logits.scale < math.inf or logits.zero_point is None
    ):
        return f"its int8 output has scale {logits.scale} and zero point {logits.zero_point}"
    return None


def read_metadata(data: bytes, name: str) -> bytes | None:
    """The metadata entry `name` of a .tflite, inflated where it was stored deflated; None where there is none.

    Raises:
        BundleError: the file is damaged, or the entry inflates to more than 16 MiB.
    """
    model = root_table(data)
    plain = _content(model, name)
    if plain is not None:
        return plain
    deflated = _content(model, name + DEFLATED)
    return None if deflated is None else _inflate(deflated, name)


def _content(model: FlatTable, name: str) -> bytes | None:
    """The bytes of the metadata entry that is stored as `name`."""
    for entry in model.tables(6):
        if entry.text(0) == name:
            buffers, index = model.tables(4), entry.whole(1, "I")
            if index >= len(buffers):
                raise damaged(f"the metadata {name!r} is in buffer {index} of {len(buffers)}")
            return bytes(buffers[index].blob(0))
    return None


def _inflate(content: bytes, name: str) -> bytes:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(content, MAX_METADATA)
    except zlib.error as error:
        raise damaged(f"the metadata {name!r} does not inflate ({error})") from None
    if not stream.eof or stream.unused_data:
        raise damaged(f"the metadata {name!r} is cut, or inflates to more than {MAX_METADATA >> 20} MiB")
    return plain
