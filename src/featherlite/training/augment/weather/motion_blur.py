"""Motion blur."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from featherlite.training.augment.weather._light import between, decoded, encoded

__all__ = ["motion_blur"]

HALVINGS = 4
"""Passes that each average two shifted copies: sixteen places along the path."""


def motion_blur(light: Any, strength: Any, free: Any) -> Any:
    """The photos smeared along a straight line: the camera or the bird moved while the shutter was open."""
    scene = decoded(light)
    short = min(light.shape[1], light.shape[2])
    length = between(0.03, 0.17, strength) * short
    angle = np.pi * free[:, 0]
    across, down = length * ops.cos(angle), length * ops.sin(angle)
    for halving in range(HALVINGS):
        # Steps of 1/2, 1/4, 1/8 ... of the path between the two copies: their sums fill it evenly.
        part = 0.5 ** (halving + 2)
        scene = (_moved(scene, across * part, down * part) + _moved(scene, -across * part, -down * part)) * 0.5
    return encoded(scene)


def _moved(photos: Any, x: Any, y: Any) -> Any:
    one, zero = ops.ones_like(x), ops.zeros_like(x)
    matrix = ops.stack([one, zero, x, zero, one, y, zero, zero], axis=1)
    return ops.image.affine_transform(
        photos, matrix, interpolation="bilinear", fill_mode="reflect", data_format="channels_last"
    )
