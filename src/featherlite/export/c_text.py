"""Text that C and C++ compilers of any age read alike: identifiers, strings, floats, bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

__all__ = ["byte_lines", "float_literal", "identifiers", "number_lines", "string_literal"]

BYTES_A_LINE = 12

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", ord("?"): "\\?"}
"""`?` too: two of them and a third character would be a trigraph to a compiler of C99."""


def identifiers(names: Iterable[str]) -> tuple[str, ...]:
    """For each name what can stand in an identifier behind a prefix: upper-case ASCII, all different.

    Accents are dropped and everything else that C does not allow becomes an underscore. Where that leaves nothing, or
    what an earlier name became already, the number of the name follows.
    """
    found: dict[str, None] = {}
    for number, name in enumerate(names):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
        word = re.sub(r"[^A-Z0-9]+", "_", plain.upper()).strip("_")
        free = word if word and word not in found else f"{word}_{number}".strip("_")
        while free in found:  # a class may be called what another one has just become
            free += "_"
        found[free] = None
    return tuple(found)


def string_literal(text: str) -> str:
    """The text as a C string in UTF-8, in ASCII characters alone."""
    return '"' + "".join(_characters(text.encode("utf-8"))) + '"'


def _characters(content: bytes) -> Iterator[str]:
    for byte in content:
        if byte in _ESCAPES:
            yield _ESCAPES[byte]
        else:
            # Octal, with all three digits: a hexadecimal escape would swallow the letters behind it.
            yield chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"


def float_literal(value: float) -> str:
    """The float32 nearest to the value as a C literal that reads back as exactly that."""
    digits = f"{float(np.float32(value)):.9g}"
    return digits + ("f" if "." in digits or "e" in digits else ".0f")


def byte_lines(content: bytes) -> str:
    """The bytes as lines of an initializer."""
    return _lines([f"0x{byte:02x}," for byte in content])


def number_lines(numbers: Iterable[int]) -> str:
    """The numbers as lines of an initializer."""
    return _lines([f"{number}," for number in numbers])


def _lines(cells: list[str]) -> str:
    starts = range(0, len(cells), BYTES_A_LINE)
    return "\n".join("  " + " ".join(cells[start : start + BYTES_A_LINE]) for start in starts)
