"""Names for bare operations, whose automatic ones count up in a process: the same network must give the same bytes."""

from __future__ import annotations

from typing import Any

__all__ = ["named"]


def named(tensor: Any, name: str) -> Any:
    """The symbolic tensor; the operation of `keras.ops` that made it is called `name` from now on."""
    tensor._keras_history.operation.name = name
    return tensor
