"""quantization.json: the ranges in which a network's activations are to be quantized, kept with the bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from featherlite.bundle import QUANTIZATION, Bundle, parse

__all__ = ["INPUT", "QUANTIZATION", "Kernels", "Range", "Scheme", "read_scheme", "spanning", "with_scheme"]

INPUT: Final = (-1.0, 127 / 128)
"""The range of the network's input, which makes its int8 form exactly `pixel - 128`."""

SMALLEST: Final = 1e-6
"""The narrowest range: that of a layer which puts out nothing but zeros still needs a scale."""

Kernels = Literal["channel", "tensor"]
"""Whether each channel of a convolution's kernel has a scale of its own, or all share one, as in dense kernels."""


def _sound(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low <= 0.0 <= high and low < high):
        raise ValueError(f"a range holds zero and is not empty, got [{low}, {high}]")
    return limits


Range = Annotated[tuple[float, float], AfterValidator(_sound)]
"""(low, high) in the layer's own units, low <= 0 <= high: zero has to be a value of its own in int8."""


class Scheme(BaseModel):
    """The range of every quantization point (`quantize.points`), and how the kernels are scaled."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    activations: dict[str, Range]
    """by the name of the layer at whose output it is"""
    input: Range = INPUT
    kernels: Kernels = "channel"
    method: str = Field(min_length=1)
    """what found the ranges: one of `quantize.ranges`, or 'trained'"""


def spanning(low: float, high: float) -> tuple[float, float]:
    """The smallest range that holds both values and zero, and is not empty."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    return (low, high) if high - low >= SMALLEST else (low, low + SMALLEST)


def read_scheme(bundle: Bundle) -> Scheme | None:
    """The scheme that came with the bundle's network; None where it has none.

    Raises:
        BundleError: the file is damaged.
    """
    if QUANTIZATION not in bundle:
        return None
    return parse(Scheme, bundle.read_json(QUANTIZATION), QUANTIZATION)


def with_scheme(bundle: Bundle, scheme: Scheme) -> Bundle:
    """A new bundle whose network is to be quantized in these ranges."""
    ordered: Mapping[str, object] = scheme.model_dump(mode="json")
    return bundle.with_json(QUANTIZATION, ordered)
