"""A calibrated LiteRT model in which chosen layers have given ranges, in the place of those that were seen.

Calibration leaves a float model in which every tensor carries the extremes that it reached. The quantizer reads them
from there, so that a range is prescribed by writing it there; what lies inside a layer keeps what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["NO_KERNEL", "RESHAPED", "SCOPE", "layers_of", "prescribe"]

Limits = tuple[float, float]

SCOPE: Final = "layer-{}/"
"""The scope in which the operations of a network's k-th layer are traced: tensors tell by it where they are from."""

RESHAPED: Final = "reshaped/"
"""The scope of layers that change nothing but the shape."""

NO_KERNEL: Final = r"'(?:tf|tfl)\.(\w+)' op is neither"
"""How the converter names an operation that LiteRT has nothing for."""

PHOTO: Final = (-1.0, 127 / 128)
"""The input's range, by which it is exactly `pixel - 128` in int8."""

SAME_RANGE: Final = frozenset(
    (
        *("AVERAGE_POOL_2D", "CONCATENATION", "EXPAND_DIMS", "GATHER", "MAXIMUM", "MAX_POOL_2D", "MINIMUM"),
        *("MIRROR_PAD", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR"),
        *("RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPLIT", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE"),
    )
)
"""Operations whose int8 kernels want one scale at both ends."""


def layers_of(name: str, layers: Sequence[str]) -> tuple[str, ...]:
    """The layers that were fused into the tensor of this name, from input to output; none for another scope."""
    numbers = sorted({int(number) for number in re.findall(r"(?:^|;)layer-(\d+)/", name)})
    return tuple(layers[number] for number in numbers if number < len(layers))


def prescribe(calibrated: bytes, ranges: Mapping[str, Limits], layers: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
    """The calibrated model with these ranges (layer -> low, high) at the ends of layers, and a photo's at its input.

    Pooling, joining and reshaping behind such a layer get its range too. `layers` are the names by scope. With it the
    names of those layers whose output the model does not store, so that they cannot have a range.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(calibrated)
    graph = model.subgraphs[0]
    ends = _ends(graph, layers)
    given: dict[int, Limits] = {int(graph.inputs[0]): PHOTO}
    given |= {ends[name]: (low, high) for name, (low, high) in ranges.items() if name in ends}
    for operator in graph.operators:
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        known = [given[int(one)] for one in operator.inputs if int(one) in given]
        if kind in SAME_RANGE and known:
            joined = (min(low for low, _ in known), max(high for _, high in known))
            given.update({int(one): joined for one in operator.outputs})
    for tensor, (low, high) in given.items():
        graph.tensors[tensor].quantization.min = np.array([low], dtype=np.float32)
        graph.tensors[tensor].quantization.max = np.array([high], dtype=np.float32)
    absent = tuple(name for name in ranges if name not in ends)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), absent


def _ends(graph: Any, layers: Sequence[str]) -> dict[str, int]:
    """The tensor that holds what each stored layer puts out: the last one that was traced as its."""
    found: dict[str, int] = {}
    for operator in graph.operators:
        for tensor in operator.outputs:
            fused = layers_of(graph.tensors[tensor].name.decode(), layers)
            if fused:
                found[fused[-1]] = int(tensor)
    found[layers[-1]] = int(graph.outputs[0])
    return found
