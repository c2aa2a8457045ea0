"""Whose answers count as an artefact's own, where several runtimes ran it."""

from __future__ import annotations

from typing import Final

__all__ = ["INTEGERS", "speaking_order"]

INTEGERS: Final = ("int8", "int16x8")
"""Artefacts that a device computes in integers alone."""


def speaking_order(form: str) -> tuple[str, ...]:
    """The runtimes whose answers count for an artefact of this form: those of the first one that ran it.

    Of integers these are the microcontroller's, else those of the kernels that agree with it; of others LiteRT's.
    """
    order = ("tflm", "litert_reference", "litert")
    return order if form in INTEGERS else order[::-1]
