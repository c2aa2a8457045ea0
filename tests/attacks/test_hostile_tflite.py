"""Hostile .tflite files: each ends in a BundleError, soon, and never in a crash."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.errors import BundleError, FeatherliteError
from featherlite.models.slim import slim
from featherlite.runtime.flatbuffer import inspect, read_metadata
from featherlite.runtime.flattable import root_table
from featherlite.runtime.interpreter import open_runtime

ARTEFACTS = Path(__file__).parents[1] / "unit" / "runtime" / "artefacts"
GOOD = slim((ARTEFACTS / "tiny_int8.tflite").read_bytes(), {"featherlite.labels": b"abc" * 99})


def input_scale_place(data: bytes) -> int:
    graph = root_table(data).tables(2)[0]
    quantization = graph.tables(0)[graph.indices(1)[0]].table(4)
    assert quantization is not None
    return quantization._target(2) + 4


def examine(data: bytes) -> None:
    """Everything that reads a file: each returns or raises an error of our own."""
    for read in (inspect, lambda d: read_metadata(d, "featherlite.labels"), lambda d: slim(d, {})):
        try:
            read(data)
        except FeatherliteError:
            continue


def test_every_truncation_is_refused() -> None:
    for length in range(len(GOOD) - 1):
        with pytest.raises(BundleError):
            inspect(GOOD[:length])


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0\0\0\0TFL3", b"PK\x03\x04" * 9, bytes(64), GOOD[:4] + b"TFL2" + GOOD[8:]]
)
def test_foreign_files_are_refused_by_all(data: bytes) -> None:
    with pytest.raises(BundleError):
        inspect(data)
    with pytest.raises(BundleError):
        read_metadata(data, "x")
    with pytest.raises(BundleError):
        slim(data, {})
    with pytest.raises(BundleError):
        open_runtime("litert", bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    examine(bytes(data))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(GOOD) // 4 - 1), st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, len(GOOD)])
)
def test_impossible_offsets_and_counts(word: int, value: int) -> None:
    data = bytearray(GOOD)
    struct.pack_into("<I", data, 4 * word, value)
    examine(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=512))
def test_random_bytes_behind_the_mark(tail: bytes) -> None:
    with pytest.raises(BundleError):
        inspect(struct.pack("<I", 8) + b"TFL3" + tail)


def test_million_references_to_one_table_end_soon() -> None:
    count = 3_000_000
    head = bytearray(64)
    struct.pack_into("<I4s", head, 0, 32, b"TFL3")
    struct.pack_into("<HHHHH", head, 16, 10, 8, 0, 0, 4)  # field list of the model: its third field at 4
    struct.pack_into("<iI", head, 32, 16, 64 - 36)  # the model; its vector of graphs starts at 64
    struct.pack_into("<HH", head, 44, 4, 4)  # a table without fields, at 48
    struct.pack_into("<i", head, 48, 4)
    places = np.arange(68, 68 + 4 * count, 4, dtype=np.int64)
    references = (48 - places).astype(np.int64) % (1 << 32)
    data = bytes(head) + struct.pack("<I", count) + references.astype("<u4").tobytes()
    start = time.monotonic()
    with pytest.raises(BundleError):
        inspect(data)
    assert time.monotonic() - start < 20


def test_scales_that_would_end_the_process_are_refused() -> None:
    for scale in (0.0, -1.0, float("inf"), float("nan"), 1e30):
        data = bytearray(GOOD)
        struct.pack_into("<f", data, input_scale_place(GOOD), scale)
        with pytest.raises(BundleError, match="scale"):
            open_runtime("litert", bytes(data))
