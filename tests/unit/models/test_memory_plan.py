"""The memory plan: as small as it can be, never larger than TFLM's own, and taken by TFLM."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.errors import BundleError, ExportError
from featherlite.models.memory_plan import ENTRY_BYTES, Block, greedy_peak, lower_bound, peak, plan, plan_bytes
from featherlite.models.slim import slim
from featherlite.runtime.flatbuffer import MEMORY_PLAN, inspect, read_metadata
from featherlite.runtime.flattable import root_table
from featherlite.runtime.interpreter import TFLMRuntime, open_runtime

INT8 = (Path(__file__).parents[1] / "runtime" / "artefacts" / "tiny_int8.tflite").read_bytes()
STEPPED = (24, 20, 16, 24, 4)
"""Channels of a chain on which the largest-first rule leaves a hole."""


def tensor(shape: list[int], kind: int, scale: float, buffer: int = 0) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    one = schema.TensorT()
    one.shape, one.type, one.buffer, one.quantization = shape, kind, buffer, schema.QuantizationParametersT()
    one.quantization.scale, one.quantization.zeroPoint = [scale], [0]
    return one


def packed(codes: list[int], tensors: list[Any], operators: list[Any], output: int, constants: list[Any]) -> bytes:
    """A .tflite of these parts; tensor 0 is the input, and buffer n + 1 has the n-th of the constants."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [output], operators
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    for code in codes:
        one = schema.OperatorCodeT()
        one.builtinCode, one.deprecatedBuiltinCode, one.version = code, code, 3 if code == 3 else 4
        model.operatorCodes.append(one)
    model.buffers = [schema.BufferT() for _ in range(len(constants) + 1)]
    for buffer, constant in zip(model.buffers[1:], constants, strict=True):
        buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operation(code: int, inputs: list[int], output: int, kind: int, options: Any) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    one = schema.OperatorT()
    one.opcodeIndex, one.inputs, one.outputs = code, inputs, [output]
    one.builtinOptionsType, one.builtinOptions = kind, options
    return one


def network(ops: list[tuple[list[int], int]], sizes: list[int]) -> bytes:
    """An int8 network of ADD operations, each (inputs, output), of tensors [1, 16, 16, channels]; the last tensor is
    the output. No runtime accepts an ADD of unlike channels: it is there to be planned.
    """
    from ai_edge_litert import schema_py_generated as schema

    kind = schema.BuiltinOptions.AddOptions
    operators = [operation(0, inputs, output, kind, schema.AddOptionsT()) for inputs, output in ops]
    tensors = [tensor([1, 16, 16, channels], 9, 1 / 128) for channels in sizes]
    return packed([0], tensors, operators, len(sizes) - 1, [])


@lru_cache
def convolutions(channels: tuple[int, ...], classes: int = 5) -> bytes:
    """An int8 classifier that runs: from 3 channels of 16 x 16 by 1 x 1 convolutions, then one dense layer.

    The computed tensors come first, in the order of the operations.
    """
    from ai_edge_litert import schema_py_generated as schema

    rng, sizes = np.random.default_rng(2), (3, *channels)
    tensors = [tensor([1, 16, 16, size], 9, 1 / 128) for size in sizes] + [tensor([1, classes], 9, 1 / 16)]
    operators, constants = [], []
    for index, (here, there) in enumerate(zip(sizes, (*channels, classes), strict=True)):
        dense = index == len(channels)
        shape = [classes, 256 * here] if dense else [there, 1, 1, here]
        constants += [rng.integers(-127, 128, shape).astype(np.int8), rng.integers(-99, 99, there).astype(np.int32)]
        tensors += [tensor(shape, 9, 1 / 256, len(constants) - 1), tensor([there], 2, 1 / 32768, len(constants))]
        kind, options = schema.BuiltinOptions.Conv2DOptions, schema.Conv2DOptionsT()
        if dense:
            kind, options = schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()
        else:
            options.strideW = options.strideH = 1
        inputs = [index, len(tensors) - 2, len(tensors) - 1]
        operators.append(operation(int(dense), inputs, index + 1, kind, options))
    return packed([3, 9], tensors, operators, len(sizes), constants)


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


def test_output_stays_to_the_end() -> None:
    # The output, 2, is made first, and two more operations follow: 3 + 5 beside it.
    assert assert_sound(network([([0, 0], 3), ([0, 0], 1), ([1, 1], 2)], [2, 3, 5, 2])) == 256 * 10


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
    data = network([([i, max(0, i - int(rng.integers(0, 30)))], i + 1) for i in range(100)], sizes)
    start = time.process_time()
    offsets = plan(data)
    assert time.process_time() - start < 1
    blocks = blocks_of(data)
    # The bound is not reached, so the search runs to its limit.
    assert lower_bound(blocks) < peak(blocks, offsets) < greedy_peak(blocks)
    assert plan(data) == offsets


def test_simulation_is_tflm_and_answers_stay() -> None:
    pytest.importorskip("tflite_micro")
    bare, planned = (slim(convolutions(STEPPED), {}, plan_memory=wanted) for wanted in (False, True))
    photos = np.random.default_rng(4).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    for name in ("litert", "litert_reference"):
        assert np.array_equal(open_runtime(name, bare).run_raw(photos), open_runtime(name, planned).run_raw(photos))
    before, after = TFLMRuntime(bare), TFLMRuntime(planned)
    answers = before.run_raw(photos)
    assert len(np.unique(answers)) > 3
    assert np.array_equal(answers, after.run_raw(photos))
    blocks = [Block(256 * size, index, index + 1) for index, size in enumerate((3, *STEPPED))]
    blocks.append(Block(16, len(blocks), len(blocks)))
    assert before.arena_activation_bytes == greedy_peak(blocks) == 256 * 60
    assert after.arena_activation_bytes == lower_bound(blocks) == 256 * 44
    assert before.arena_bytes - after.arena_bytes == 256 * 16


def test_slim_writes_it_where_it_pays_and_as_it_is() -> None:
    data = convolutions(STEPPED)
    content = plan_bytes(data)
    assert content is not None
    slimmed = slim(data, {"a": b"b"})
    assert read_metadata(slimmed, MEMORY_PLAN) == content
    assert inspect(slimmed).memory_plan == plan(data)
    assert inspect(slimmed).metadata == ("a",)
    assert np.frombuffer(content, "<i4")[:3].tolist() == [1, 0, len(inspect(data).tensors)]
    entry = next(e for e in root_table(slimmed).tables(6) if e.text(0) == MEMORY_PLAN)
    assert (root_table(slimmed).tables(4)[entry.whole(1, "I")]._target(0) + 4) % 4 == 0
    assert slim(slimmed, {"a": b"b"}) == slimmed
    bare = slim(data, {}, plan_memory=False)
    assert inspect(bare).memory_plan == ()
    assert slim(slimmed, {}, plan_memory=False) == bare
    assert len(slim(data, {})) - len(bare) <= ENTRY_BYTES + 4 * len(inspect(data).tensors)


def test_slim_leaves_it_out_where_it_does_not_pay() -> None:
    assert plan_bytes(INT8) is None
    assert inspect(slim(INT8, {})).memory_plan == ()
    with pytest.raises(ExportError, match=MEMORY_PLAN):
        slim(INT8, {MEMORY_PLAN: b""})


def test_plan_that_leads_out_of_the_arena_is_refused() -> None:
    content = plan_bytes(convolutions(STEPPED))
    assert content is not None
    slimmed = slim(convolutions(STEPPED), {})
    for place, value in ((2, 5), (3, -16), (3, (1 << 31) - 16)):
        numbers = np.frombuffer(content, "<i4").copy()
        numbers[place] = value
        assert slimmed.count(content) == 1
        with pytest.raises(BundleError, match="memory plan"):
            inspect(slimmed.replace(content, numbers.tobytes()))
