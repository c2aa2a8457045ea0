"""Snow."""

from __future__ import annotations

from typing import Any

from keras import ops

from featherlite.training.augment.weather._light import (
    between,
    decoded,
    encoded,
    hashed,
    per_photo,
    quarters,
    seed_of,
    uniform,
)

__all__ = ["snow"]

LAYERS = ((0.006, 0.9), (0.011, 0.85), (0.024, 0.6))
"""Far, nearer and near flakes: radius as a share of the short side, and how much of the scene one hides at most."""
CELL = 7.0
"""Side of the cell in which a flake may be, in its radii: wide enough that none is cut off at the border."""
TRAIL = 0.9
"""How far a flake moves to either side while the shutter is open, in its radii."""
DRIFT, SWING = 1.0, 5.0
"""How far lanes of falling flakes swing to either side, and over what length, in cells: straight ones would show."""
SMALLEST_PX = 0.7
AIRLIGHT, FLAKE_LIGHT = 0.73, 0.92


def snow(light: Any, strength: Any, free: Any) -> Any:
    """The photos through falling snow: white flakes, the near ones large and out of focus, and a scene that turns pale.

    Source: the veil is H. Koschmieder's law, as in `fog`; a flake hides what is behind it, as far as it covers a pixel.
    """
    veil = per_photo(between(0.04, 0.32, strength))
    scene = decoded(light) * (1.0 - veil) + AIRLIGHT * veil
    slant = per_photo((free[:, 0] - 0.5) * 1.4)
    density = per_photo(between(0.08, 0.6, strength))
    seed = seed_of(free[:, 3])
    for number, (radius, opacity) in enumerate(LAYERS):
        covered = opacity * _flakes(light, slant, density, hashed(seed + number), radius)
        scene = scene * (1.0 - covered) + FLAKE_LIGHT * covered
    return encoded(scene)


def _flakes(light: Any, slant: Any, density: Any, seed: Any, radius: float) -> Any:
    """How much flakes cover each pixel, 0..1: [n, h, w, 1].

    The plane is cut into lanes along the fall and each lane into square cells, shifted lane by lane. A hash of lane and
    cell says whether a flake is there, where in the cell, and how dense it is; no pixel has to look beyond its own.
    """
    height, width = light.shape[1], light.shape[2]
    radius = max(radius * min(height, width), SMALLEST_PX)
    rim = 0.5 + 0.35 * radius
    cell, room = CELL * radius, 0.5 - (radius + rim) / (CELL * radius)
    x = ops.arange(width, dtype="float32")[None, None, :, None]
    y = ops.arange(height, dtype="float32")[None, :, None, None]
    seed = ops.reshape(seed, (-1, 1, 1, 1))
    fallen = (y * ops.cos(slant) + x * ops.sin(slant)) * (1.0 / cell)
    swing = DRIFT * ops.sin(fallen * (1.0 / SWING) + 6.3 * uniform(seed))
    across = (x * ops.cos(slant) - y * ops.sin(slant)) * (1.0 / cell) + swing
    lane = ops.floor(across)
    keys = ops.cast(lane, "int32") * 7919 + seed
    along = fallen + 16.0 * uniform(keys)
    place = ops.floor(along)
    chance, right, down, dense = quarters(hashed(keys) + ops.cast(place, "int32"))
    off_center = across - lane - 0.5 - (2.0 * right - 1.0) * room
    off_path = ops.abs(along - place - 0.5 - (2.0 * down - 1.0) * (room - TRAIL / CELL)) - TRAIL / CELL
    distance = cell * ops.sqrt(ops.square(off_center) + ops.square(ops.maximum(off_path, 0.0)))
    inside = ops.clip((radius + rim - distance) * (0.5 / rim), 0.0, 1.0)
    return ops.cast(chance < density, "float32") * inside * (0.5 + 0.5 * dense)
