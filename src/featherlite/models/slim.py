"""A .tflite rewritten: the same computation, bit for bit, in fewer bytes, with metadata inside.

A converter's file carries what no runtime reads: path-like tensor names, signatures, ranges seen in
calibration, descriptions. And it stores each channel's zero point, always 0, in eight bytes, twice (kernel
and bias). FlatBuffers allows any number of tables to point at one vector, so equal vectors, tables and
constants are stored once here.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np

from featherlite.errors import ExportError
from featherlite.models.memory_plan import plan_bytes
from featherlite.runtime.flatbuffer import DEFLATED, MEMORY_PLAN, inspect
from featherlite.runtime.flattable import FlatTable, damaged, root_table

__all__ = ["slim"]

CONSTANT_ALIGNMENT: Final = 16
INPUT_NAME, OUTPUT_NAME = "x", "y"
INT32: Final = 2  # TensorType of the schema; in an int8 network the type of biases and shapes

# A field of a table to be written: its number, "offset" or the letter of a number, the value, the value left
# out.
Field = tuple[int, str, int, int]

_PREPENDS: Final = {
    "b": "PrependInt8Slot",
    "B": "PrependUint8Slot",
    "i": "PrependInt32Slot",
    "I": "PrependUint32Slot",
}


class _Writer:
    """A FlatBuffers builder that stores equal vectors and equal tables once."""

    def __init__(self, size: int) -> None:
        import flatbuffers

        self.builder: Any = flatbuffers.Builder(size)
        self._stored: dict[Hashable, int] = {}

    def vector(self, content: bytes, item: int, alignment: int = 1) -> int:
        """The place of a vector of `item`-byte elements; 0, which means "left out", for an empty one."""
        if not content:
            return 0
        key = (content, item, alignment)
        if key not in self._stored:
            builder = self.builder
            builder.StartVector(item, len(content) // item, max(item, alignment))
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            self._stored[key] = int(builder.EndVector())
        return self._stored[key]

    def text(self, content: str) -> int:
        """The place of a string; 0 for an empty one."""
        key = ("text", content)
        if content and key not in self._stored:
            self._stored[key] = int(self.builder.CreateString(content))
        return self._stored.get(key, 0)

    def table(self, *fields: Field) -> int:
        """The place of a table; fields that have their default are left out."""
        if fields not in self._stored:
            self.builder.StartObject(1 + max((field[0] for field in fields), default=-1))
            for number, kind, value, default in fields:
                if kind == "offset":
                    self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
                else:
                    getattr(self.builder, _PREPENDS[kind])(number, value, default)
            self._stored[fields] = int(self.builder.EndObject())
        return self._stored[fields]

    def packed(self, key: Hashable, content: Any) -> int:
        """The place of an object of the generated schema."""
        if key not in self._stored:
            self._stored[key] = int(content.Pack(self.builder))
        return self._stored[key]

    def offsets(self, places: list[int]) -> int:
        """The place of a vector of tables."""
        if not places:
            return 0
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return int(self.builder.EndVector())


class _Buffers:
    """The list of buffers: number 0 is the empty one, equal contents have one number."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._places = [writer.table()]
        self._numbers: dict[bytes, int] = {b"": 0}

    def number(self, content: bytes, alignment: int) -> int:
        if content not in self._numbers:
            self._numbers[content] = len(self._places)
            self._places.append(self._writer.table((0, "offset", self._writer.vector(content, 1, alignment), 0)))
        return self._numbers[content]

    def finish(self) -> int:
        return self._writer.offsets(self._places)


def _refuse(table: FlatTable, fields: Mapping[int, str], owner: str) -> None:
    for number, meaning in fields.items():
        if table.has(number):
            raise ExportError(
                f"The network cannot be slimmed: {owner} has {meaning}, which featherlite does not write.",
                "Replace the layer that needs it.",
            )


def _quantization(writer: _Writer, table: FlatTable | None) -> int:
    if table is None or not len(table.floats(2)):
        return 0
    _refuse(table, {5: "a custom quantization"}, "a tensor")
    return writer.table(
        (2, "offset", writer.vector(bytes(table.blob(2, 4)), 4), 0),
        (3, "offset", writer.vector(bytes(table.blob(3, 8)), 8), 0),
        (6, "i", table.whole(6, "i"), 0),
    )


def _tensor(writer: _Writer, table: FlatTable, buffer: int, name: str, keep_bias_scales: bool) -> int:
    _refuse(table, {5: "state", 6: "sparse storage", 9: "variants", 10: "external storage"}, "a tensor")
    kind = table.whole(1, "b")
    quantized = keep_bias_scales or kind != INT32
    return writer.table(
        (0, "offset", writer.vector(bytes(table.blob(0, 4)), 4), 0),
        (2, "I", buffer, 0),
        (3, "offset", writer.text(name), 0),
        (4, "offset", _quantization(writer, table.table(4)) if quantized else 0, 0),
        (1, "b", kind, 0),
        # Importers take a tensor without shape and rank for one of unknown rank: a scalar has to say that it
        # is one.
        (8, "B", int(not len(table.blob(0, 4)) and table.whole(8, "B")), 0),
    )


def _options(writer: _Writer, kind: int, position: int, data: bytes) -> int:
    """The place of an operation's options, a table of one of some 120 types, copied by the generated schema."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers.table import Table

    try:
        content = schema.BuiltinOptionsCreator(kind, Table(bytearray(data), position))
    except Exception as error:  # the generated reader checks nothing, so damage may surface as anything
        raise damaged(f"the options of an operation cannot be read ({error})") from error
    if content is None:
        raise damaged(f"an operation has options of the unknown type {kind}")
    fields = {name: np.asarray(value).tolist() for name, value in vars(content).items()}
    return writer.packed((kind, repr(sorted(fields.items()))), content)


def _operation(writer: _Writer, table: FlatTable, data: bytes) -> int:
    _refuse(table, {5: "custom options", 9: "custom options", 12: "options of the second kind"}, "an operation")
    kind, options = table.whole(3, "B"), table.table(4)
    place = 0 if options is None else _options(writer, kind, options.position, data)
    return writer.table(
        (0, "I", table.whole(0, "I"), 0),
        (1, "offset", writer.vector(bytes(table.blob(1, 4)), 4), 0),
        (2, "offset", writer.vector(bytes(table.blob(2, 4)), 4), 0),
        (4, "offset", place, 0),
        (3, "B", kind if place else 0, 0),
    )


def _operator_code(writer: _Writer, table: FlatTable) -> int:
    _refuse(table, {1: "a custom operation"}, "the list of operations")
    return writer.table(
        (3, "i", table.whole(3, "i"), 0),
        (2, "i", table.whole(2, "i", 1), 1),
        (0, "b", table.whole(0, "b"), 0),
    )


def _graph(writer: _Writer, graph: FlatTable, buffers: list[int], data: bytes, keep_bias_scales: bool) -> int:
    inputs, outputs = graph.indices(1), graph.indices(2)
    if len(inputs) != 1 or len(outputs) != 1 or inputs == outputs:
        raise ExportError(f"A classifier has one input and one output, this network {len(inputs)} and {len(outputs)}.")
    names = {inputs[0]: INPUT_NAME, outputs[0]: OUTPUT_NAME}
    tensors = [
        _tensor(writer, table, buffers[table.whole(2, "I")], names.get(index, ""), keep_bias_scales)
        for index, table in enumerate(graph.tables(0))
    ]
    operations = [_operation(writer, table, data) for table in graph.tables(3)]
    return writer.table(
        (0, "offset", writer.offsets(tensors), 0),
        (1, "offset", writer.vector(bytes(graph.blob(1, 4)), 4), 0),
        (2, "offset", writer.vector(bytes(graph.blob(2, 4)), 4), 0),
        (3, "offset", writer.offsets(operations), 0),
    )


def slim(
    data: bytes, metadata: Mapping[str, bytes], *, keep_bias_scales: bool = True, plan_memory: bool = True
) -> bytes:
    """The .tflite `data` in fewer bytes, with the entries of `metadata` inside and none of its own metadata.

    Computation, quantization and the order of tensors stay; the input is named `x`, the output `y`, the
    others have no name. An entry is stored deflated where that is smaller, under its name with `.zlib`
    appended; `runtime.flatbuffer.read_metadata` undoes it. Constants stay aligned to 16 bytes. Where TFLM's own
    planner wastes memory, a better plan goes in with them (`models.memory_plan`), which only TFLM reads. A file that
    is to be compiled by Vela needs `plan_memory=False`: Vela would hand the plan on, where it fits no longer.

    `keep_bias_scales=False` also drops the scales of biases, which are input scale times kernel scale and
    which neither TFLM, Vela nor LiteRT's own kernels read: a further 4 to 5% for a file that only ever goes
    to a device. LiteRT's default kernels (XNNPACK) then decline the convolutions, so it runs several times
    slower on a phone.

    Raises:
        BundleError: `data` is damaged or no .tflite.
        ExportError: it uses a feature that would be lost (custom operations, sparsity, state, several
            inputs), or an entry has the name of TFLM's memory plan.
    """
    inspect(data)
    if MEMORY_PLAN in metadata:
        raise ExportError(f"No metadata can be named {MEMORY_PLAN!r}: TFLM would place its tensors by it.")
    model = root_table(data)
    writer = _Writer(len(data) + sum(map(len, metadata.values())) + 4096)
    entries = [_stored(name, content) for name, content in metadata.items()]
    # The builder writes from the back: what comes first here lies at the end of the file.
    buffers = _Buffers(writer)
    graph = model.tables(2)[0]
    constants = {table.whole(2, "I") for table in graph.tables(0)}
    numbers = [
        buffers.number(bytes(table.blob(0)), CONSTANT_ALIGNMENT) if index in constants else 0
        for index, table in enumerate(model.tables(4))
    ]
    places = plan_bytes(data) if plan_memory else None
    if places is not None:
        # TFLM reads the numbers where they lie, and some cores fault on a word that is not aligned.
        buffers.number(places, CONSTANT_ALIGNMENT)
        entries.append((MEMORY_PLAN, places))
    described = [
        writer.table((0, "offset", writer.text(name), 0), (1, "I", buffers.number(content, 1), 0))
        for name, content in entries
    ]
    fields = (
        (0, "I", model.whole(0, "I"), 0),
        (1, "offset", writer.offsets([_operator_code(writer, table) for table in model.tables(1)]), 0),
        (2, "offset", writer.offsets([_graph(writer, graph, numbers, data, keep_bias_scales)]), 0),
        (4, "offset", buffers.finish(), 0),
        (6, "offset", writer.offsets(described), 0),
    )
    writer.builder.Finish(writer.table(*fields), file_identifier=b"TFL3")
    return bytes(writer.builder.Output())


def _stored(name: str, content: bytes) -> tuple[str, bytes]:
    deflated = zlib.compress(content, 9)
    return (name + DEFLATED, deflated) if len(deflated) + len(DEFLATED) < len(content) else (name, content)
