"""Fog."""

from __future__ import annotations

from typing import Any

from keras import ops

from featherlite.training.augment.weather._light import between, decoded, encoded, hashed, per_photo, seed_of, uniform

__all__ = ["fog"]

OCTAVES = ((2, 0.5), (4, 0.3), (8, 0.2))
"""Cells a side and weight of the noise that makes patches."""
AIRLIGHT, AIRLIGHT_REACH = 0.55, 0.3


def fog(light: Any, strength: Any, free: Any) -> Any:
    """The photos behind drifting fog, thicker towards the upper edge, where things are taken to be farther.

    Source: H. Koschmieder's law, as in S. G. Narasimhan and S. K. Nayar, "Vision and the Atmosphere" (IJCV 48, 2002),
    equation 2: the scene fades by exp(-beta d), and airlight takes its place.
    """
    height, width = light.shape[1], light.shape[2]
    up = 1.4 - 0.8 * ops.arange(height, dtype="float32")[None, :, None, None] / height
    thickness = (
        per_photo(between(0.12, 1.1, strength)) * up * (0.55 + 0.9 * _patches(seed_of(free[:, 0]), height, width))
    )
    passed = ops.exp(-thickness)
    air = per_photo(AIRLIGHT + AIRLIGHT_REACH * free[:, 1])
    return encoded(decoded(light) * passed + air * (1.0 - passed))


def _patches(seed: Any, height: int, width: int) -> Any:
    """Smooth noise in 0..1: [n, h, w, 1]."""
    total: Any = 0.0
    for cells, weight in OCTAVES:
        side = cells + 1
        keys = hashed(seed + cells)[:, None] + ops.arange(side * side, dtype="int32")[None, :]
        lattice = ops.reshape(uniform(keys), (-1, side, side, 1))
        total = total + weight * ops.image.resize(
            lattice, (height, width), interpolation="bicubic", data_format="channels_last"
        )
    return total
