"""Glare."""

from __future__ import annotations

from typing import Any

from keras import ops

from featherlite.training.augment.weather._light import between, decoded, encoded, per_photo

__all__ = ["glare"]

GHOSTS = ((0.55, 0.05, (0.9, 0.5, 0.3)), (1.25, 0.09, (0.4, 0.8, 0.5)), (1.6, 0.04, (0.4, 0.5, 0.9)))
"""Images of the sun between the lenses: place from the sun (0) to the middle (1) and on, radius, tint."""
RIM = 0.012
"""How soft a ghost's rim is, as a share of the short side."""
VEIL = 0.1
"""What a lens scatters over all of the photo, of what it scatters right at the sun."""


def glare(light: Any, strength: Any, free: Any) -> Any:
    """The photos against the sun: its halo at the upper edge, a row of ghosts, and a veil over all.

    Source: W. S. Stiles and J. Crawford (1937): what is scattered adds to the scene, and falls with the square of the
    distance from the sun; here with a core of finite size.
    """
    height, width = light.shape[1], light.shape[2]
    side = per_photo(2.0 * free[:, 0] - 1.0)
    sun_x, sun_y = width * (0.5 + 0.45 * side), height * (0.02 + 0.2 * ops.square(side))
    core = per_photo(between(0.11, 0.22, free[:, 1]))
    halo = VEIL + (1.0 - VEIL) / (1.0 + ops.square(_distance(light, sun_x, sun_y) / core))
    low = per_photo(free[:, 2])  # the lower the sun, the warmer its light
    scattered = halo * ops.concatenate([ops.ones_like(low), 0.98 - 0.1 * low, 0.92 - 0.24 * low], axis=-1)
    clear = per_photo(0.3 * free[:, 3])
    for along, radius, tint in GHOSTS:
        x, y = sun_x + along * (width / 2 - sun_x), sun_y + along * (height / 2 - sun_y)
        inside = ops.clip((radius - _distance(light, x, y)) * (1.0 / RIM) + 0.5, 0.0, 1.0)
        scattered = scattered + clear * inside * ops.convert_to_tensor(tint, dtype="float32")
    return encoded(decoded(light) + per_photo(between(0.25, 1.9, strength)) * scattered)


def _distance(light: Any, x: Any, y: Any) -> Any:
    """Distance of each pixel from points [n, 1, 1, 1] as a share of the short side: [n, h, w, 1]."""
    height, width = light.shape[1], light.shape[2]
    columns = ops.arange(width, dtype="float32")[None, None, :, None] - x
    rows = ops.arange(height, dtype="float32")[None, :, None, None] - y
    return ops.sqrt(ops.square(columns) + ops.square(rows)) * (1.0 / min(height, width))
