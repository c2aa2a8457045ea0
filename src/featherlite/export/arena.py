"""The working memory that TensorFlow Lite Micro needs for an artefact: as measured, else estimated from the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from featherlite.bundle import Bundle
from featherlite.runtime.flatbuffer import ArtefactFacts

__all__ = ["Arena", "arena_of"]

OP_BYTES: Final = 280
CHANNEL_BYTES: Final = 8
"""What the interpreter keeps for an operation, and for each output channel of a kernel with scales of its own."""

BASE_BYTES: Final = 1024


@dataclass(frozen=True)
class Arena:
    """Bytes of working memory, and whether `verify` measured them or they are an estimate."""

    bytes: int
    measured: bool


def arena_of(bundle: Bundle, export: str, facts: ArtefactFacts) -> Arena:
    """The arena of exports/<export>, whose facts are given."""
    measured = _measured(bundle, export, facts.flash_bytes)
    return Arena(measured, True) if measured else Arena(_estimate(facts), False)


def _measured(bundle: Bundle, export: str, size: int) -> int | None:
    """What verify.json says about this very artefact."""
    document = bundle.read_json("verify.json") if "verify.json" in bundle else {}
    entries = document.get("exports") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and (entry.get("name"), entry.get("bytes")) == (export, size):
            found = entry.get("arena_bytes")
            return found if isinstance(found, int) and found > 0 else None
    return None


def _estimate(facts: ArtefactFacts) -> int:
    """Activations as TFLM places them under any kind of kernels, and room for the interpreter's own structures."""
    from featherlite.models.memory_plan import Kinds, greedy_peak

    kinds = Kinds(facts)
    planned = facts.memory_plan or (-1,) * len(facts.tensors)
    fixed = {block: planned[tensor] for block, tensor in enumerate(kinds.tensors) if planned[tensor] >= 0}
    activations = max(greedy_peak(blocks, fixed) for blocks in kinds.blocks)
    kernels = [facts.tensors[op.inputs[1]] for op in facts.ops if len(op.inputs) > 1 and op.inputs[1] >= 0]
    channels = sum(kernel.channels for kernel in kernels if kernel.constant_bytes)
    structures = BASE_BYTES + OP_BYTES * len(facts.ops) + CHANNEL_BYTES * channels
    return -(-(activations + structures) // 16) * 16
