"""Pixels to linear light and back: weather, lens and sensor act on light, not on the numbers in a file."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["LUMA", "Floats", "decoded_light", "encoded_light"]

Floats = NDArray[np.float32]

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Luminance of linear red, green and blue (ITU-R BT.709, the primaries of sRGB)."""

STEPS = 65535


def decoded_light(photo: NDArray[np.uint8], linear: bool) -> Floats:
    """The photo (uint8 [h, w, 3]) as float32 of the same shape in 0..1: light, or its encoded value / 255."""
    return _decoding()[photo] if linear else photo * np.float32(1 / 255)


def encoded_light(scene: Floats, linear: bool) -> NDArray[np.uint8]:
    """What a file holds of a scene, float32 [h, w, 3] with 1 as white: uint8 of the same shape; the rest is clipped."""
    if not linear:
        return np.asarray(np.clip(scene * 255 + 0.5, 0, 255), np.uint8)
    return _encoding()[np.asarray(np.clip(scene * STEPS + 0.5, 0, STEPS), np.uint16)]


@cache
def _decoding() -> Floats:
    """Linear light of each of 256 encoded values. Source: IEC 61966-2-1 (sRGB), inverse of the transfer function."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _encoding() -> NDArray[np.uint8]:
    """The encoded value of linear light in 65,536 steps. Source: IEC 61966-2-1 (sRGB), transfer function."""
    light = np.arange(STEPS + 1) / STEPS
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(value * 255), np.uint8)
