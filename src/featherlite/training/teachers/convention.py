"""How an artefact of any make takes its photos: which numbers stand for the levels 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.runtime.flatbuffer import TensorFacts, read_metadata
from featherlite.runtime.flattable import root_table

__all__ = ["Convention", "InputWord", "convention_of"]

InputWord = Literal["auto", "unit", "symmetric", "bytes"]

STATED = {"unit": (0.0, 255.0), "symmetric": (127.5, 127.5), "bytes": (0.0, 1.0)}
OWN = (128.0, 128.0)

INTEGERS = {"uint8": (0, 255), "int8": (-128, 127)}


@dataclass(frozen=True)
class Convention:
    """A level p in 0..255 goes in as (p - mean) / std; `levels` where an integer input takes p itself (int8: p - 128).

    `mean` and `std` have one entry, or one for each of red, green and blue.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    levels: bool
    source: str

    def __call__(self, photos: NDArray[np.float32], tensor: TensorFacts) -> NDArray[Any]:
        """Photos float32 [n, h, w, 3] in -1..127/128 as this input tensor takes them."""
        pixels = photos * np.float32(128) + np.float32(128)
        if tensor.dtype == "float32":
            return self._normalized(pixels)
        low, high = INTEGERS[tensor.dtype]
        if self.levels:
            whole = np.rint(pixels) + low
        else:
            assert tensor.scale is not None
            assert tensor.zero_point is not None
            whole = np.rint(self._normalized(pixels) / np.float32(tensor.scale)) + tensor.zero_point
        return np.asarray(np.clip(whole, low, high), tensor.dtype)

    def _normalized(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((pixels - np.array(self.mean)) / np.array(self.std), np.float32)


def convention_of(name: str, data: bytes, tensor: TensorFacts, stated: InputWord, own: bool) -> Convention:
    """How the artefact takes its photos: as stated; else as it says itself.

    featherlite's own artefacts (`own`) and those with an integer input say so by being what they are, others through
    the normalization in their TFLite metadata.

    Raises:
        RequestError: nothing tells.
    """
    integer = tensor.dtype in INTEGERS
    if stated != "auto":
        mean, std = STATED[stated]
        return Convention((mean,), (std,), integer and stated == "bytes", f"stated: {stated}")
    if own:
        return Convention((OWN[0],), (OWN[1],), integer, "featherlite's own")
    if integer:
        # Its quantization spans the very range that the levels were normalized to.
        return Convention((0.0,), (1.0,), True, "levels, from the type of the input")
    carried = _normalization(data)
    if carried is not None:
        return Convention(*carried, False, "normalization in its metadata")
    raise RequestError(
        f"The teacher {name} takes float32 photos and does not say in which range.",
        "State it: teacher_input=unit for x/255, symmetric for x/127.5-1, bytes for 0..255.",
    )


def _normalization(data: bytes) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std of the first input in the TFLite metadata; None where there are none that can be used.

    Source: TensorFlow Lite's metadata_schema.fbs, for the numbers of the fields.
    """
    content = read_metadata(data, "TFLITE_METADATA")
    if content is None:
        return None
    for graph in root_table(content, b"M001").tables(3)[:1]:
        for tensor in graph.tables(2)[:1]:
            for unit in tensor.tables(4):
                options = unit.table(1)
                if unit.whole(0, "B") == 1 and options is not None:
                    mean, std = (tuple(map(float, options.floats(field))) for field in (0, 1))
                    usable = len(mean) in (1, 3) and len(std) in (1, 3) and all(np.isfinite(mean)) and min(std) > 0
                    return (mean, std) if usable else None
    return None
