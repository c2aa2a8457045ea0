"""Erasing: one rectangle of a photo greyed out."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.numbers import Numbers

__all__ = ["draw_box", "erase", "inside"]


def draw_box(config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int) -> Any:
    """Rectangles [n, 4] in pixels (left, top, right, bottom) of 2% to 25% of the area, aspect 1/3 to 3, some empty.

    Empty (left = right) are those of the photos that are spared.

    Source: Z. Zhong et al., "Random Erasing Data Augmentation" (arXiv:1708.04896), algorithm 1.
    """
    xp = numbers.xp
    chosen = numbers.random(count) < config.erase * config.augment
    area = numbers.uniform(0.02, 0.25, count)
    aspect = xp.exp(numbers.uniform(np.log(1 / 3), np.log(3), count))
    tall = xp.minimum(xp.sqrt(area * aspect), 1.0) * height
    wide = xp.minimum(xp.sqrt(area / aspect), 1.0) * width
    left, top = numbers.random(count) * (width - wide), numbers.random(count) * (height - tall)
    box = xp.stack([left, top, left + wide, top + tall], axis=1)
    return xp.where(chosen[:, None], box, xp.zeros_like(box))


def erase(photos: Any, box: Any) -> Any:
    """The photos float32 [n, h, w, 3] with what lies in their box [n, 4] mid-grey (0)."""
    return photos * (1.0 - inside(box, photos.shape[1], photos.shape[2]))


def inside(box: Any, height: int, width: int) -> Any:
    """1 where a pixel lies in the box, else 0: float32 [n, h, w, 1]."""
    x = ops.arange(width, dtype="float32")[None, None, :, None]
    y = ops.arange(height, dtype="float32")[None, :, None, None]
    left, top, right, bottom = (box[:, side][:, None, None, None] for side in range(4))
    within = ops.logical_and(ops.logical_and(x >= left, x < right), ops.logical_and(y >= top, y < bottom))
    return ops.cast(within, "float32")
