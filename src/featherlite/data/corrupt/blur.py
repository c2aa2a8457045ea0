"""Blur: by focus and by motion, which training may use; by zooming, which it may not."""

from __future__ import annotations

import numpy as np
from PIL import Image

from featherlite.data.corrupt import corruption
from featherlite.data.corrupt._fields import convolve, disc, line, short_side
from featherlite.data.corrupt._light import Floats

__all__ = ["defocus", "motion_blur", "zoom_blur"]

FRAMES = 9
"""Exposures that make up a zoom blur; with the largest zoom their steps are still about a pixel in the middle."""


@corruption(family="train", kind="blur", radius=(0.008, 0.013, 0.019, 0.027, 0.037))
def defocus(scene: Floats, rng: np.random.Generator, *, radius: float) -> Floats:  # noqa: ARG001
    """Out of focus: every point becomes a disc (the circle of confusion), its radius relative to the short side."""
    kernel = disc(max(radius * short_side(scene), 0.25))
    return convolve(scene, kernel / kernel.sum())


@corruption(family="train", kind="blur", length=(0.035, 0.055, 0.08, 0.115, 0.16))
def motion_blur(scene: Floats, rng: np.random.Generator, *, length: float) -> Floats:
    """Camera or subject in motion: every point becomes a straight line, its length relative to the short side."""
    kernel = line(length * short_side(scene), rng.uniform(0, np.pi))
    return convolve(scene, kernel / kernel.sum())


@corruption(family="held_out", kind="blur", linear=False, zoom=(0.05, 0.09, 0.14, 0.2, 0.28))
def zoom_blur(scene: Floats, rng: np.random.Generator, *, zoom: float) -> Floats:
    """Motion towards the camera: the mean of the photo and its enlargements, up to 1 + zoom.

    Source: the corruption 'zoom blur' of Hendrycks and Dietterich (arXiv:1903.12261), with strengths of our own.
    """
    image = Image.fromarray(np.asarray(scene * 255 + 0.5, np.uint8))
    width, height = image.size
    x, y = rng.uniform(0.4, 0.6, 2)
    total = np.zeros(scene.shape, np.float32)
    for step in range(FRAMES):
        size = 1 / (1 + zoom * step / (FRAMES - 1))
        left, top = width * (1 - size) * x, height * (1 - size) * y
        box = (left, top, left + width * size, top + height * size)
        total += np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box), np.float32)
    return np.asarray(total / (255 * FRAMES), np.float32)
