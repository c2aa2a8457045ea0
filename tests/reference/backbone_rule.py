"""Weights and a photo drawn by rule, the same for torch's networks and ours; NumPy alone."""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn", "photo", "places"]


def drawn(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The value of the parameter of that name in a torch state dict, float32 of `shape`, in torch's order of axes.

    Everything is uniform: kernels keep the size of the signal (He et al. 2015, arXiv:1502.01852, equation 10), and
    BatchNorm's statistics are away from 0 and 1, so that a layer which ignores one of them is seen.
    """
    values = np.random.default_rng(zlib.crc32(name.encode())).random(shape, dtype=np.float32)
    if name.endswith("running_var"):
        return 0.5 + values
    if len(shape) == 1:
        is_scale = name.endswith("weight")
        return 0.5 + 0.5 * values if is_scale else 0.4 * (values - 0.5)
    return (values - 0.5) * np.float32(2 * math.sqrt(6 / math.prod(shape[1:])))


def photo(height: int, width: int) -> NDArray[np.uint8]:
    """A photo of a disc before waves, uint8 [height, width, 3]: slopes, edges, another pattern in each channel."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = y / height, x / width
    waves = [np.sin(2 * np.pi * (3 * x + k * y)) + np.cos(2 * np.pi * (5 - k) * x * y) for k in range(3)]
    pixels = 120 + 45 * np.stack(waves, axis=-1)
    disc = (x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.06
    pixels[disc] = [200, 90, 30]
    return np.round(pixels).clip(0, 255).astype(np.uint8)


def places(size: int, count: int = 40) -> NDArray[np.int64]:
    """Which of `size` numbers are compared: `count` of them, spread evenly, not in step with the channels."""
    return np.unique(np.linspace(0, size - 1, count).astype(np.int64))
