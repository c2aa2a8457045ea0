"""Rain."""

from __future__ import annotations

from typing import Any

from keras import ops

from featherlite.training.augment.weather._light import between, decoded, encoded, hashed, per_photo, seed_of, uniform

__all__ = ["rain"]

LAYERS = ((0.08, 0.010, 0.55), (0.22, 0.016, 1.0))
"""Far and near drops: length and width of a streak as shares of the short side, and how much it covers."""
STREAK_LIGHT, VEIL_LIGHT = 0.55, 0.4


def rain(light: Any, strength: Any, free: Any) -> Any:
    """The photos through rain: slanting streaks, far and near, on a scene that is duller behind a thin veil.

    Source: K. Garg and S. K. Nayar, "Vision and Rain" (IJCV 75, 2007): a falling drop blends the background with the
    light of the whole sky, along its path.
    """
    veil = per_photo(0.03 + 0.2 * strength)
    scene = decoded(light) * (1.0 - 1.8 * veil) + VEIL_LIGHT * veil
    slant = per_photo((free[:, 0] - 0.5) * 0.8)
    opacity = per_photo(0.45 + 0.4 * free[:, 1])
    seed = seed_of(free[:, 3])
    for number, (length, thickness, weight) in enumerate(LAYERS):
        density = per_photo(between(0.03, 0.3, strength) * (1.0 if number == 0 else 0.5))
        streaks = _streaks(light, slant, density, hashed(seed + number), length, thickness)
        covered = opacity * weight * streaks
        scene = scene * (1.0 - covered) + STREAK_LIGHT * covered
    return encoded(scene)


def _streaks(light: Any, slant: Any, density: Any, seed: Any, length: float, thickness: float) -> Any:
    """How much streaks cover each pixel, 0..1: [n, h, w, 1].

    The plane is cut into lanes along the fall and each lane into places for a drop, shifted lane by lane; a hash of
    lane and place says whether a drop is there.
    """
    height, width = light.shape[1], light.shape[2]
    short = min(height, width)
    x = ops.arange(width, dtype="float32")[None, None, :, None]
    y = ops.arange(height, dtype="float32")[None, :, None, None]
    across = (x * ops.cos(slant) - y * ops.sin(slant)) * (1.0 / max(thickness * short, 1.5))
    lane = ops.floor(across)
    keys = ops.cast(lane, "int32") * 7919 + ops.reshape(seed, (-1, 1, 1, 1))
    along = (y * ops.cos(slant) + x * ops.sin(slant)) * (1.0 / (length * short)) + 16.0 * uniform(keys)
    place = ops.floor(along)
    there = ops.cast(uniform(hashed(keys) + ops.cast(place, "int32")) < density, "float32")
    inside, down = across - lane, along - place
    return there * (1.0 - ops.abs(2.0 * inside - 1.0)) * 4.0 * down * (1.0 - down)
