"""What TensorFlow Lite Micro has no kernels for, though LiteRT has."""

from __future__ import annotations

from typing import Final

from featherlite.models.convert import Converted
from featherlite.models.tflm_operations import REMEDY, registration
from featherlite.runtime.flatbuffer import ArtefactFacts

__all__ = ["refusal"]

WITHOUT_KERNEL: Final = frozenset(("EXP", "GELU", "LOG", "POW", "SELECT", "SQRT", "TILE"))
"""Operations that it can register and has no int8 kernel for."""


def refusal(converted: Converted) -> str:
    """Why TensorFlow Lite Micro refuses an artefact, with what to do; empty where nothing speaks against it."""
    facts = converted.facts
    if any(tensor.dtype == "float16" for tensor in facts.tensors):
        return "its weights are float16. Quantize to int8 for a microcontroller."
    if _is_hybrid(facts):
        return "its weights alone are integers. Quantize to int8 for a microcontroller."
    integers = any(tensor.dtype in ("int8", "int16") for tensor in facts.tensors)
    kinds = [op for op in facts.op_counts if registration(op) is None or (integers and op in WITHOUT_KERNEL)]
    if kinds:
        named = ", ".join(f"'{name}'" for name in converted.layers_of(kinds))
        return f"it has no {'int8 ' if integers else ''}kernel for {', '.join(kinds)} (layers {named}). {REMEDY}"
    return ""


def _is_hybrid(facts: ArtefactFacts) -> bool:
    """Whether an operation takes integer constants and float values."""
    for op in facts.ops:
        if op.name not in ("QUANTIZE", "DEQUANTIZE"):
            inputs = [facts.tensors[index] for index in op.inputs if index >= 0]
            constants = {tensor.dtype for tensor in inputs if tensor.constant_bytes}
            if "int8" in constants and any(one.dtype == "float32" and not one.constant_bytes for one in inputs):
                return True
    return False
