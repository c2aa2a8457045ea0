"""Weights opened by the reader that their file's suffix calls for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from featherlite.errors import RequestError
from featherlite.models.weights.hdf5 import open_hdf5
from featherlite.models.weights.safetensors import open_safetensors
from featherlite.models.weights.source import TORCH, check_weights
from featherlite.models.weights.stored import Stored, Tensors

__all__ = ["open_weights"]


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[Stored | Tensors]:
    """The weights in a file, open for as long as the context lasts.

    Raises:
        RequestError: no such file, of another kind, damaged, or reaching outside itself.
    """
    check_weights(str(path))
    with contextlib.ExitStack() as stack:
        try:
            stored: Stored | Tensors = stack.enter_context(_opened(path))
        except RequestError:
            raise
        except Exception as error:  # whatever a damaged file makes a library raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RequestError(
                f"weights: {path.name} is not a readable weights file ({reason[:120]}).",
                "It may be cut off: compare its size and checksum with its source's, or fetch it again.",
            ) from None
        if not (stored.layers if isinstance(stored, Stored) else stored.shapes):
            raise RequestError(f"weights: {path.name} holds no layer's weights.")
        yield stored


def _opened(path: Path) -> contextlib.AbstractContextManager[Stored | Tensors]:
    return open_safetensors(path) if path.suffix.casefold() in TORCH else open_hdf5(path)
