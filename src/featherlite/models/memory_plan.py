"""Where TensorFlow Lite Micro is to keep each tensor, found before the device has to.

TFLM's own planner places tensors once, the largest first, each at the lowest place that is free. On networks
whose tensors shrink in steps, such as MobileNetV1, that leaves holes: a third more memory than the tensors that
live at once need. Here many orders are tried. TFLM takes the plan from a metadata entry of the file, and every
other runtime passes over it.

Vela must not be given a file with a plan: it keeps the entry, which no longer fits what it writes, and TFLM then
refuses to load that. Constants have no place (-1) and need none. Variable tensors would also be -1, since TFLM gives
them room of their own; `slim` refuses them.

What kernels ask for at run time (scratch) is not in the file. TFLM puts it into a hole that the plan leaves at that
operation, or on top where none is large enough; so a plan that knows only tensors can cost a device memory, where
TFLM's own order would have kept scratch and tensors together. Therefore a plan is judged under three kinds of
kernels (`_SCRATCH`): reference kernels (scratch for means), CMSIS-NN (patches of the input; the larger of what
Cortex-M4 and Helium need), and kernels that copy a depthwise convolution's whole input, as ESP-NN does. `plan_bytes`
gives none unless it is no worse under any of them, as far as these formulas, upper bounds, describe the device.

Source: Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020 (greedy by size);
https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/docs/memory_management.md (the entry).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from featherlite.runtime.flatbuffer import ITEM_BYTES, MEMORY_PLAN, ArtefactFacts, OpFacts, inspect

__all__ = ["Block", "Kinds", "activation_bytes", "greedy_peak", "lower_bound", "peak", "plan", "plan_bytes"]

ALIGNMENT: Final = 16
SEARCH_WORK: Final = 1_000_000
"""Pairs of blocks that the search looks at, a third of a second: a bound that does not depend on the machine."""

ENTRY_BYTES: Final = 12 + len(MEMORY_PLAN) + 80
"""What the entry takes beside one number a tensor: its head, its name, its tables."""

HELIUM_CHANNELS: Final = 124  # CH_IN_BLOCK_MVE of CMSIS-NN: channels that its depthwise convolution takes at once


@dataclass(frozen=True, slots=True)
class Block:
    """Memory of `size` bytes, needed from time `first` to time `last`, both included.

    Time 0 is before the first operation, operation k runs at time k + 1.
    """

    size: int
    first: int
    last: int


def lower_bound(blocks: Iterable[Block]) -> int:
    """The bytes that live at the worst time: no plan needs less."""
    some = list(blocks)
    return max((sum(b.size for b in some if b.first <= t <= b.last) for t in {b.first for b in some}), default=0)


def activation_bytes(facts: ArtefactFacts) -> int:
    """The bytes of an artefact's computed tensors at the worst time; scratch of kernels is not among them."""
    return lower_bound(Block(_aligned(_size(facts, index)), *life) for index, life in _lifetimes(facts).items())


def peak(blocks: Iterable[Block], offsets: Iterable[int]) -> int:
    """The bytes from 0 to the end of the highest block."""
    return max((block.size + offset for block, offset in zip(blocks, offsets, strict=True)), default=0)


def greedy_peak(blocks: list[Block], fixed: dict[int, int] | None = None) -> int:
    """The memory that TFLM's own planner takes, with the blocks in `fixed` where they are."""
    free = [index for index in range(len(blocks)) if index not in (fixed or {})]
    # TFLM collects them back to front and sorts stably, so of equal blocks the last is placed first.
    order = sorted(free, key=lambda index: (-blocks[index].size, -index))
    return peak(blocks, _Packing(blocks).place(order, fixed))


def plan(data: bytes) -> tuple[int, ...]:
    """The offset in bytes of each tensor of the .tflite `data`, a multiple of 16; -1 for constants.

    The best plan that a bounded, deterministic search finds for all three kinds of kernels together.

    Raises:
        BundleError: `data` is damaged or no .tflite.
    """
    facts = inspect(data)
    return _plan(facts, Kinds(facts))


def plan_bytes(data: bytes) -> bytes | None:
    """The content of TFLM's metadata entry for the .tflite `data`; None where a plan does not pay.

    It pays where, compared to TFLM's own planner, the memory is no larger under any kind of kernels and, under the
    reference kernels or CMSIS-NN's, smaller by more than the entry adds to the file.

    Raises:
        BundleError: `data` is damaged or no .tflite.
    """
    facts = inspect(data)
    if any(tensor.dtype == "float16" for tensor in facts.tensors):
        return None  # TFLM refuses such a network
    kinds = Kinds(facts)
    offsets = _plan(facts, kinds)
    fixed = {block: offsets[tensor] for block, tensor in enumerate(kinds.tensors)}
    saved = [greedy_peak(blocks) - greedy_peak(blocks, fixed) for blocks in kinds.blocks]
    if min(saved) < 0 or max(saved[:2]) <= ENTRY_BYTES + 4 * len(offsets):
        return None
    return np.array([1, 0, len(offsets), *offsets], "<i4").tobytes()


def _plan(facts: ArtefactFacts, kinds: Kinds) -> tuple[int, ...]:
    places = dict(zip(kinds.tensors, _best(kinds), strict=True))
    return tuple(places.get(index, -1) for index in range(len(facts.tensors)))


class _Packing:
    """Blocks, and for each the others that it must not overlap."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.rivals = [
            [j for j, other in enumerate(blocks) if j != i and one.first <= other.last and other.first <= one.last]
            for i, one in enumerate(blocks)
        ]
        self.work = len(blocks) + sum(map(len, self.rivals))

    def place(self, order: Iterable[int], fixed: dict[int, int] | None = None) -> list[int]:
        """The offset of each block, in `order` at the lowest free place; those in `fixed` come first and stay."""
        blocks, offsets = self.blocks, [-1] * len(self.blocks)
        for index, offset in (fixed or {}).items():
            offsets[index] = offset
        for index in order:
            size, low = blocks[index].size, 0
            taken = [(offsets[j], offsets[j] + blocks[j].size) for j in self.rivals[index] if offsets[j] >= 0]
            for start, end in sorted(taken):
                if start - low >= size:
                    break
                low = max(low, end)
            offsets[index] = low
        return offsets


class Kinds:
    """The tensors in memory, in `blocks` once for each kind of kernels, followed by its scratch."""

    def __init__(self, facts: ArtefactFacts) -> None:
        lives = _lifetimes(facts)
        self.tensors = tuple(sorted(lives))
        own = [Block(_aligned(_size(facts, index)), *lives[index]) for index in self.tensors]
        self.blocks = [[*own, *_scratch_blocks(facts, kind)] for kind in _SCRATCH]


def _lifetimes(facts: ArtefactFacts) -> dict[int, tuple[int, int]]:
    """From when to when each computed tensor is needed, as TFLM counts: the output to the end, unused ones once."""
    born = {tensor.index: 0 for tensor in facts.inputs}
    died = dict(born)
    for op in facts.ops:
        for index in op.outputs:
            born.setdefault(index, op.index + 1)
            died[index] = op.index + 1
        for index in op.inputs:
            if index in born:
                died[index] = op.index + 1
    died |= {tensor.index: len(facts.ops) for tensor in facts.outputs if tensor.index in born}
    return {
        index: (born[index], died[index])
        for index in born
        if not facts.tensors[index].constant_bytes and _size(facts, index)
    }


def _size(facts: ArtefactFacts, index: int) -> int:
    return prod(facts.tensors[index].shape) * ITEM_BYTES.get(facts.tensors[index].dtype, 0)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _scratch_blocks(facts: ArtefactFacts, kind: Callable[[ArtefactFacts, OpFacts], int]) -> list[Block]:
    asked = [(op.index + 1, kind(facts, op)) for op in facts.ops if op.inputs and op.inputs[0] >= 0 and op.outputs]
    return [Block(_aligned(size), time, time) for time, size in asked if size]


def _reference_scratch(_facts: ArtefactFacts, op: OpFacts) -> int:
    """A mean sums up in int32."""
    return 4 * prod(op.output_shape) if op.name == "MEAN" else 0


def _patch_scratch(facts: ArtefactFacts, op: OpFacts) -> int:
    """CMSIS-NN: a convolution takes four patches of its input, rounded up to 16 bytes; a depthwise one two bytes for
    each of its weights (Cortex-M4) or blocks of 124 channels (Helium); dense layers and pools a sum for each channel.
    """
    kernel = facts.tensors[op.inputs[1]].shape if len(op.inputs) > 1 and op.inputs[1] >= 0 else ()
    if op.name == "CONV_2D" and len(kernel) == 4:
        return 4 * _aligned(prod(kernel[1:]))
    if op.name == "DEPTHWISE_CONV_2D" and len(kernel) == 4:
        return max(2 * prod(kernel), 4 * HELIUM_CHANNELS * prod(kernel[1:3]))
    if op.name in ("FULLY_CONNECTED", "AVERAGE_POOL_2D"):
        return 4 * op.output_shape[-1] if op.output_shape else 0
    return _reference_scratch(facts, op)


def _copy_scratch(facts: ArtefactFacts, op: OpFacts) -> int:
    """ESP-NN: a depthwise convolution copies kernel and padded input, in int16 unless 16 divides the channels; newer
    versions copy a large input in strips, so the whole is the worst case.
    """
    shapes = [facts.tensors[index].shape for index in op.inputs[:2] if index >= 0]
    if op.name != "DEPTHWISE_CONV_2D" or [len(shape) for shape in shapes] != [4, 4]:
        return _patch_scratch(facts, op)
    (_, height, width, channels), kernel = shapes
    copied = prod(kernel) + (height + kernel[1] - 1) * (width + kernel[2] - 1) * channels
    return copied if channels % 16 == 0 else 2 * copied


_SCRATCH: Final = (_reference_scratch, _patch_scratch, _copy_scratch)


def _best(kinds: Kinds) -> list[int]:
    """The offsets of the tensors, by the best of all orders of tensors and CMSIS-NN's scratch that were tried.

    Any plan comes from some order: from that of its offsets. So a search over orders misses nothing in principle.
    """
    packing, count = _Packing(kinds.blocks[1]), len(kinds.tensors)
    price = _Price(kinds)
    tried = [(price.of(packing.place(order)[:count]), order) for order in _orders(packing.blocks, count)]
    cost, order = min(tried, default=(price.least, []))
    rng = random.Random(0)
    for _ in range(SEARCH_WORK // packing.work if order else 0):
        if cost == price.least:
            break
        changed = order.copy()
        changed.insert(rng.randrange(len(order)), changed.pop(rng.randrange(len(order))))
        found = price.of(packing.place(changed)[:count])
        if found <= cost:  # sideways steps too: most single moves change no peak
            cost, order = found, changed
    return packing.place(order)[:count]


def _orders(blocks: list[Block], count: int) -> Iterator[list[int]]:
    """Orders to start from, with scratch where a rule puts it and with scratch last; `count` blocks are tensors."""
    area = [block.size * (block.last - block.first + 1) for block in blocks]
    rules: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-blocks[i].size, -i),  # as TFLM does: so none is worse
        lambda i: (-area[i], i),
        lambda i: (blocks[i].first - blocks[i].last, -blocks[i].size, i),
        lambda i: (blocks[i].first, -blocks[i].size, i),
        lambda i: (-blocks[i].last, -blocks[i].size, i),
    )
    for rule in rules:
        order = sorted(range(len(blocks)), key=rule)
        yield order
        yield sorted(order, key=lambda i: i >= count)
    # In a chain every second tensor goes to the bottom, the others above their two neighbors: the optimum there.
    chain = sorted(range(count), key=lambda i: (blocks[i].first, blocks[i].last, i))
    scratch = list(range(count, len(blocks)))
    yield [*chain[::2], *chain[1::2], *scratch]
    yield [*chain[1::2], *chain[::2], *scratch]


class _Price:
    """What a plan costs, to be made as small as possible; `least` is a cost that none is below.

    First the bytes by which it is worse than TFLM's own planner under any kind of kernels, then the memory under the
    reference kernels and CMSIS-NN's, then that under kernels that copy.
    """

    def __init__(self, kinds: Kinds) -> None:
        count = len(kinds.tensors)
        self._own = kinds.blocks[0][:count]
        self._greedy = [greedy_peak(blocks) for blocks in kinds.blocks]
        self._scratch = [[(one.size, self._alive(one.first)) for one in blocks[count:]] for blocks in kinds.blocks]
        bounds = [lower_bound(blocks) for blocks in kinds.blocks]
        self.least = (0, bounds[0] + bounds[1], bounds[2])

    def _alive(self, time: int) -> list[int]:
        return [index for index, block in enumerate(self._own) if block.first <= time <= block.last]

    def of(self, offsets: list[int]) -> tuple[int, int, int]:
        """The cost of tensors at `offsets`."""
        ends = [offset + block.size for offset, block in zip(offsets, self._own, strict=True)]
        tensors = max(ends, default=0)
        peaks = [max([tensors, *(_end(one, offsets, ends) for one in scratch)]) for scratch in self._scratch]
        worse = sum(max(0, found - greedy) for found, greedy in zip(peaks, self._greedy, strict=True))
        return worse, peaks[0] + peaks[1], peaks[2]


def _end(scratch: tuple[int, list[int]], offsets: list[int], ends: list[int]) -> int:
    """Where scratch ends in the lowest gap between the tensors of its time: TFLM's own rule."""
    size, rivals = scratch
    low = 0
    for start, end in sorted((offsets[i], ends[i]) for i in rivals):
        if start - low >= size:
            break
        low = max(low, end)
    return low + size
