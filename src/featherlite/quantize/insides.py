"""What is inside an artefact while it computes: the values of its tensors, photo by photo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError
from featherlite.preprocess import network_input
from featherlite.runtime.flatbuffer import ArtefactFacts, TensorFacts, inspect

__all__ = ["Insides", "dequantized", "limits"]

LIMITS: Final[Mapping[str, tuple[int, int]]] = {"int8": (-128, 127), "int16": (-32768, 32767)}
"""The lowest and the highest value of what has a scale."""


class Insides:
    """An artefact in LiteRT that keeps all its tensors; in the reference kernels, which compute as TFLM does.

    Raises:
        BundleError: the artefact is damaged.
        ExportError: LiteRT refuses it.
    """

    def __init__(self, artefact: bytes, *, reference: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.facts: ArtefactFacts = inspect(artefact)
        # XNNPACK keeps to itself what it has fused.
        kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter: Any = Interpreter(
                model_content=artefact,
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"LiteRT refuses the artefact: {' '.join(str(error).split())[:300]}.") from error

    def look(self, photos: NDArray[np.uint8], tensors: Iterable[int]) -> dict[int, NDArray[Any]]:
        """The values of these tensors as they are stored, [n, ...], for uint8 photos [n, height, width, 3].

        Raises:
            ExportError: LiteRT failed.
        """
        wanted = list(tensors)
        found: dict[int, list[NDArray[Any]]] = {tensor: [] for tensor in wanted}
        given = (photos ^ np.uint8(128)).view(np.int8) if self.facts.input.dtype == "int8" else network_input(photos)
        for photo in given:
            try:
                self._interpreter.set_tensor(self.facts.input.index, photo[None])
                self._interpreter.invoke()
            except (RuntimeError, ValueError) as error:
                raise ExportError(f"LiteRT failed in the artefact: {' '.join(str(error).split())[:300]}.") from error
            for tensor in wanted:
                found[tensor].append(self._interpreter.get_tensor(tensor).reshape(-1))
        return {tensor: np.stack(values) for tensor, values in found.items()}


def dequantized(values: NDArray[Any], tensor: TensorFacts) -> NDArray[np.float32]:
    """What the stored values stand for, float32 of the same shape."""
    if tensor.scale is None or tensor.zero_point is None:
        return values.astype(np.float32, copy=False)
    return (values.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)


def limits(tensor: TensorFacts) -> tuple[int, int] | None:
    """The lowest and highest value that the tensor can store; None for one that is not quantized."""
    return LIMITS.get(tensor.dtype) if tensor.scale is not None else None
