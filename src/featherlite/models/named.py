"""Names in a network: how those of a head begin, and names for bare operations.

Automatic names of operations count up in a process, and the same network must give the same bytes.
"""

from __future__ import annotations

from typing import Any

__all__ = ["HEAD", "named"]

HEAD = "head_"
"""How the names of a head's layers begin."""


def named(tensor: Any, name: str) -> Any:
    """The symbolic tensor; the operation of `keras.ops` that made it is called `name` from now on."""
    tensor._keras_history.operation.name = name
    return tensor
