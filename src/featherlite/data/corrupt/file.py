"""File: what small or cheap storage does to a photo."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from featherlite.data.corrupt import corruption
from featherlite.data.corrupt._light import Floats

__all__ = ["jpeg", "pixelate"]


@corruption(family="train", kind="file", linear=False, quality=(40, 25, 15, 9, 5))
def jpeg(scene: Floats, rng: np.random.Generator, *, quality: float) -> Floats:  # noqa: ARG001
    """JPEG of low quality (libjpeg's scale), color at half the resolution."""
    content = io.BytesIO()
    Image.fromarray(np.asarray(scene * 255 + 0.5, np.uint8)).save(content, "JPEG", quality=int(quality), subsampling=2)
    with Image.open(content) as image:
        return np.asarray(image, np.float32) / np.float32(255)


@corruption(family="held_out", kind="file", linear=False, kept=(0.6, 0.45, 0.33, 0.24, 0.17))
def pixelate(scene: Floats, rng: np.random.Generator, *, kept: float) -> Floats:  # noqa: ARG001
    """A small photo blown up: squares of one color, as many along each side as the share `kept` of the pixels.

    Source: the corruption 'pixelate' of Hendrycks and Dietterich (arXiv:1903.12261), with strengths of our own.
    """
    image = Image.fromarray(np.asarray(scene * 255 + 0.5, np.uint8))
    small = image.resize((max(2, round(image.width * kept)), max(2, round(image.height * kept))), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST), np.float32) / np.float32(255)
