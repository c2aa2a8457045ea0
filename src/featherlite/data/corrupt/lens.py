"""Lens: drops of water and dirt on the glass, none of which training may use."""

from __future__ import annotations

import numpy as np

from featherlite.data.corrupt import corruption
from featherlite.data.corrupt._fields import clouds, convolve, disc, scattered, short_side
from featherlite.data.corrupt._light import Floats

__all__ = ["dirty_lens", "wet_lens"]


@corruption(family="held_out", kind="lens", drops=(6, 12, 20, 32, 48))
def wet_lens(scene: Floats, rng: np.random.Generator, *, drops: float) -> Floats:
    """Drops of water on the glass: each is a small lens that shows the scene upside down and out of focus.

    Source: the refraction model of S. You et al., "Adherent Raindrop Modeling, Detection and Removal in Video", IEEE
    TPAMI 38 (2016), reduced to its main effect: a drop images a wide angle, turned about its center.
    """
    height, width = scene.shape[:2]
    short = short_side(scene)
    blur = disc(max(0.02 * short, 0.7))
    behind = convolve(scene, blur / blur.sum())
    result = scene.copy()
    for y, x, size in rng.random((int(drops), 3)):
        radius = short * (0.025 + 0.075 * size**2)
        center_y, center_x = y * height, x * width
        top, left = max(0, int(center_y - radius - 1)), max(0, int(center_x - radius - 1))
        bottom, right = min(height, int(center_y + radius + 2)), min(width, int(center_x + radius + 2))
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(center_y)
        columns = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(center_x)
        away = np.hypot(rows, columns) / radius
        inside = np.clip((1 - away) * radius / 1.5 + 0.5, 0, 1)[..., None]
        reach = 0.3 * short / radius  # the drop's rim shows what lies this many radii away on the other side
        source_y = np.clip(center_y - rows * reach, 0, height - 1).astype(np.intp)
        source_x = np.clip(center_x - columns * reach, 0, width - 1).astype(np.intp)
        # Rays at the rim leave the camera's view: dark there; the lower part collects the sky's light.
        gain = (1.05 - 0.6 * np.clip(away, 0, 1) ** 4 + 0.25 * rows / radius)[..., None]
        window = result[top:bottom, left:right]
        window += inside * (behind[source_y, source_x] * gain - window)
    return result


@corruption(
    family="held_out",
    kind="lens",
    spots=(12, 24, 42, 66, 96),
    smear=(0.15, 0.27, 0.40, 0.53, 0.66),
)
def dirty_lens(scene: Floats, rng: np.random.Generator, *, spots: float, smear: float) -> Floats:
    """Dirt on the glass: soft dark specks out of focus, and a greasy film that washes the photo out in patches.

    Source: J. Gu et al., "Removing Image Artifacts Due to Dirty Camera Lenses and Thin Occluders", SIGGRAPH Asia 2009,
    equation 1: image = scene * attenuation + scattered light.
    """
    short = short_side(scene)
    specks = np.zeros(scene.shape[:2], np.float32)
    rim = disc(0.008 * short)
    for share, radius in ((0.7, 0.014), (0.3, 0.04)):
        dots = scattered(rng, scene.shape, share * spots)
        specks = np.maximum(specks, np.clip(convolve(dots, disc(radius * short), rim / rim.sum()), 0, 1))
    film = np.clip(0.5 + 0.5 * clouds(rng, scene.shape, cells=2, octaves=3), 0, 1.4)
    film = (smear * film)[..., None]
    light = scene.mean(axis=(0, 1)) * 0.8 + 0.12
    hazy = scene * (1 - film) + light * film
    attenuation = 1 - 0.9 * specks[..., None]
    return np.asarray(hazy * attenuation + np.array([0.02, 0.016, 0.012], np.float32) * (1 - attenuation), np.float32)
