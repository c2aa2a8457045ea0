"""FlatBuffers tables, read with every offset checked against the file before it is followed.

The generated reader of the format trusts its input. This one bounds its work as well, so that a hostile file
ends in a `BundleError` and never in a crash or a hang.

Source: https://flatbuffers.dev/internals (the layout of tables, vtables and vectors).
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import BundleError

__all__ = ["FlatTable", "damaged", "root_table"]

IDENTIFIER: Final = b"TFL3"

MAX_ELEMENTS: Final = 2_000_000
"""Vector elements decoded from one file: an EfficientNet has some 10,000. Vectors may be shared, so that a
small hostile file could otherwise ask for any amount of work."""


def damaged(what: str) -> BundleError:
    """The error for a file in which `what` is impossible."""
    return BundleError(f"The .tflite file is damaged: {what}.", "Export it again, or copy it again from its source.")


class _Source:
    """The file, with the amount of decoding that is left."""

    __slots__ = ("_budget", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._budget = min(4 * len(data), MAX_ELEMENTS) + 65_536

    def whole(self, kind: str, position: int) -> int:
        """The integer at `position`, by its `struct` letter."""
        if not 0 <= position <= len(self.data) - struct.calcsize(kind):
            raise damaged(f"an offset leads to {position}, outside of its {len(self.data)} bytes")
        return int(struct.unpack_from("<" + kind, self.data, position)[0])

    def spend(self, count: int) -> None:
        """Count decoded elements, so that vectors which are shared a million times end in an error."""
        self._budget -= count
        if self._budget < 0:
            raise damaged("it lists far more than a file of its size can hold")


class FlatTable:
    """One FlatBuffers table of a file; fields are addressed by their number in the schema."""

    __slots__ = ("_fields", "_source", "position")

    def __init__(self, source: _Source, position: int) -> None:
        vtable = position - source.whole("i", position)
        size = source.whole("H", vtable)
        if size < 4 or size % 2 or vtable + size > len(source.data):
            raise damaged(f"the table at {position} has a field list of {size} bytes")
        source.spend(size // 2)
        length = source.whole("H", vtable + 2)
        fields = struct.unpack_from(f"<{size // 2 - 2}H", source.data, vtable + 4)
        if length < 4 or position + length > len(source.data) or any(field >= length for field in fields):
            raise damaged(f"the table at {position} reaches beyond its {length} bytes")
        self._fields = fields
        self._source = source
        self.position = position

    def _at(self, field: int) -> int:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self.position + offset if offset else 0

    def has(self, field: int) -> bool:
        """Whether the field is present in the file."""
        return bool(self._at(field))

    def whole(self, field: int, kind: str, default: int = 0) -> int:
        """An integer field, by its `struct` letter."""
        position = self._at(field)
        return self._source.whole(kind, position) if position else default

    def _target(self, field: int) -> int:
        position = self._at(field)
        return position + self._source.whole("I", position) if position else 0

    def table(self, field: int) -> FlatTable | None:
        """The table that the field points at, or None."""
        position = self._target(field)
        return FlatTable(self._source, position) if position else None

    def blob(self, field: int, item: int = 1) -> memoryview:
        """The bytes of a vector whose elements have `item` bytes; empty where the field is absent."""
        position = self._target(field)
        if not position:
            return memoryview(b"")
        length = self._source.whole("I", position) * item
        if position + 4 + length > len(self._source.data):
            raise damaged(f"the vector at {position} claims {length} bytes")
        return memoryview(self._source.data)[position + 4 : position + 4 + length]

    def floats(self, field: int) -> NDArray[np.float32]:
        """A vector of float32, not copied."""
        raw = self.blob(field, 4)
        self._source.spend(len(raw) // 16)
        return np.frombuffer(raw, np.dtype("<f4"))

    def wide(self, field: int) -> NDArray[np.int64]:
        """A vector of int64, not copied."""
        raw = self.blob(field, 8)
        self._source.spend(len(raw) // 32)
        return np.frombuffer(raw, np.dtype("<i8"))

    def indices(self, field: int) -> tuple[int, ...]:
        """A vector of int32 as Python integers."""
        raw = self.blob(field, 4)
        self._source.spend(len(raw) // 4)
        return struct.unpack(f"<{len(raw) // 4}i", raw)

    def text(self, field: int) -> str:
        """A string, empty where the field is absent."""
        raw = bytes(self.blob(field))
        self._source.spend(len(raw) // 16)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise damaged(f"a name is not UTF-8: {raw[:32]!r}") from None

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        count = len(self.blob(field, 4)) // 4
        self._source.spend(count)
        start = self._target(field) + 4
        places = range(start, start + 4 * count, 4)
        return [FlatTable(self._source, place + self._source.whole("I", place)) for place in places]


def root_table(data: bytes, mark: bytes = IDENTIFIER) -> FlatTable:
    """The Model table of a .tflite, or the root of another FlatBuffers file with this `mark`.

    Raises:
        BundleError: it is no such file.
    """
    if len(data) < 8 or bytes(data[4:8]) != mark:
        what = "no .tflite file" if mark == IDENTIFIER else "no FlatBuffers file of the expected kind"
        raise BundleError(
            f"This is {what}: of its {len(data)} bytes the mark is {bytes(data[4:8])!r} instead of {mark!r}.",
            "Give the model.tflite of an export.",
        )
    source = _Source(bytes(data))
    return FlatTable(source, source.whole("I", 0))
