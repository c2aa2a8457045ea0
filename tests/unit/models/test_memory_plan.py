"""The memory plan: as small as it can be, never larger than TFLM's own, and taken by TFLM."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.errors import BundleError, ExportError
from featherlite.models.memory_plan import Block, greedy_peak, lower_bound, peak, plan, plan_bytes
from featherlite.models.slim import slim
from featherlite.runtime.flatbuffer import MEMORY_PLAN, inspect, read_metadata
from featherlite.runtime.flattable import root_table
from featherlite.runtime.interpreter import TFLMRuntime, open_runtime

INT8 = (Path(__file__).parents[1] / "runtime" / "artefacts" / "tiny_int8.tflite").read_bytes()
STEPPED = (4, 8, 24, 12, 24, 6, 12, 3)
"""Channels at 16 x 16 of a chain on which the largest-first rule leaves a hole."""


def network(ops: list[tuple[list[int], int]], sizes: list[int]) -> bytes:
    """An int8 network of ADD operations, each (inputs, output) of tensors [1, 16, 16, channels], here `sizes`.

    Tensor 0 is the input, the last the output; every runtime accepts it, as far as the channels of an ADD agree.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(channels: int) -> Any:
        one = schema.TensorT()
        one.shape, one.type, one.buffer = [1, 16, 16, channels], schema.TensorType.INT8, 0
        one.quantization = schema.QuantizationParametersT()
        one.quantization.scale, one.quantization.zeroPoint = [1 / 128], [0]
        return one

    def operation(inputs: list[int], output: int) -> Any:
        one = schema.OperatorT()
        one.opcodeIndex, one.inputs, one.outputs = 0, inputs, [output]
        one.builtinOptionsType, one.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        return one

    code, graph, model = schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode, code.version = schema.BuiltinOperator.ADD, 2
    graph.tensors = [tensor(size) for size in sizes]
    graph.inputs, graph.outputs = [0], [len(sizes) - 1]
    graph.operators = [operation(*op) for op in ops]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def chain(sizes: tuple[int, ...]) -> bytes:
    return network([([i, i], i + 1) for i in range(len(sizes) - 1)], list(sizes))


def blocks_of(data: bytes) -> list[Block]:
    """The tensors of a network of `network`, whose lives are counted here in another way than by the planner."""
    facts = inspect(data)
    uses: dict[int, list[int]] = {0: [0], len(facts.tensors) - 1: [len(facts.ops)]}
    for op in facts.ops:
        for index in {*op.inputs, *op.outputs}:
            uses.setdefault(index, []).append(op.index + 1)
    return [Block(256 * t.shape[3], min(uses[t.index]), max(uses[t.index])) for t in facts.tensors]


def assert_sound(data: bytes) -> int:
    """The peak of the plan of `data`, after a check that nothing overlaps and that it is no worse than TFLM's."""
    blocks, offsets = blocks_of(data), plan(data)
    assert all(offset >= 0 and offset % 16 == 0 for offset in offsets)
    for i, (one, low) in enumerate(zip(blocks, offsets, strict=True)):
        for other, start in list(zip(blocks, offsets, strict=True))[:i]:
            if one.first <= other.last and other.first <= one.last:
                assert low + one.size <= start or start + other.size <= low
    height = peak(blocks, offsets)
    assert lower_bound(blocks) <= height <= greedy_peak(blocks)
    return height


def test_chain_by_hand() -> None:
    # 2, 6, 4, 6, 2: each operation needs its two neighbors, at most 6 + 4. Largest first puts both sixes at the
    # bottom and four above them: 10 as well. With 3, 6, 5, 4, 6 the sixes are placed, then 5 above the first, to
    # 11; 4 next to the second six starts at 11, because 5 is in its way, and ends at 15.
    assert assert_sound(chain((2, 6, 4, 6, 2))) == 256 * 10
    blocks = [Block(size, time, time + 1) for time, size in enumerate((3, 6, 5, 4, 6))]
    assert greedy_peak(blocks) == 15
    assert lower_bound(blocks) == 11
    assert assert_sound(chain((3, 6, 5, 4, 6))) == 256 * 11


def test_branch_by_hand() -> None:
    # The input is added again at the end: 2 lives throughout, beside 3 + 5, then 5 + 2 + (the output) 2.
    data = network([([0, 0], 1), ([1, 1], 2), ([2, 0], 3)], [2, 3, 5, 2])
    assert assert_sound(data) == 256 * 10
    assert plan(data) == plan(data)


def test_fixed_blocks_stay_and_scratch_takes_the_hole() -> None:
    blocks = [Block(32, 0, 1), Block(32, 0, 1), Block(48, 1, 1)]
    assert greedy_peak(blocks, {0: 0, 1: 80}) == 112  # the hole of 48 fits exactly
    assert greedy_peak(blocks, {0: 0, 1: 64}) == 144  # a hole of 32 does not: on top
    assert greedy_peak(blocks) == 112


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_graph_overlaps_or_grows(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=12))
    ops = [(data.draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2)), i) for i in range(1, len(sizes))]
    assert_sound(network(ops, sizes))


def test_hundred_operations_take_less_than_a_second() -> None:
    rng = np.random.default_rng(3)
    sizes = [int(size) for size in rng.integers(1, 60, 101)]
    data = network([([i, max(0, i - int(rng.integers(0, 4)))], i + 1) for i in range(100)], sizes)
    start = time.process_time()
    plan(data)
    assert time.process_time() - start < 1


def test_simulation_is_tflm(subtests: Any = None) -> None:
    pytest.importorskip("tflite_micro")
    from tflite_micro import runtime

    data = slim(chain(STEPPED), {}, plan_memory=False)
    assert runtime.Interpreter.from_bytes(data, arena_size=1 << 20) is not None


def test_slim_writes_it_where_it_pays_and_as_it_is() -> None:
    data = chain(STEPPED)
    content = plan_bytes(data)
    assert content is not None
    slimmed = slim(data, {"a": b"b"})
    assert read_metadata(slimmed, MEMORY_PLAN) == content
    assert inspect(slimmed).memory_plan == plan(data)
    assert inspect(slimmed).metadata == ("a",)
    assert np.frombuffer(content, "<i4")[:3].tolist() == [1, 0, len(STEPPED)]
    entry = next(e for e in root_table(slimmed).tables(6) if e.text(0) == MEMORY_PLAN)
    assert (root_table(slimmed).tables(4)[entry.whole(1, "I")]._target(0) + 4) % 4 == 0
    assert slim(slimmed, {"a": b"b"}) == slimmed
    bare = slim(data, {}, plan_memory=False)
    assert inspect(bare).memory_plan == ()
    assert len(slim(data, {})) - len(bare) <= 12 + 71 + 4 * len(STEPPED)


def test_slim_leaves_it_out_where_it_does_not_pay() -> None:
    assert plan_bytes(INT8) is None
    assert inspect(slim(INT8, {})).memory_plan == ()
    with pytest.raises(ExportError, match=MEMORY_PLAN):
        slim(INT8, {MEMORY_PLAN: b""})


def test_plan_that_leads_out_of_the_arena_is_refused() -> None:
    content = plan_bytes(chain(STEPPED))
    assert content is not None
    slimmed = slim(chain(STEPPED), {})
    for place, value in ((2, 5), (3, -16), (3, -(1 << 31))):
        numbers = np.frombuffer(content, "<i4").copy()
        numbers[place] = value
        assert slimmed.count(content) == 1
        with pytest.raises(BundleError, match="memory plan"):
            inspect(slimmed.replace(content, numbers.tobytes()))
