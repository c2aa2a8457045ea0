"""Color: brightness, contrast, saturation and hue, as a single matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.numbers import Numbers

__all__ = ["IDENTITY_COLOR", "LUMA", "MID_GREY", "TOP", "draw_color", "followed_by", "recolor"]

IDENTITY_COLOR = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in perceived light (ITU-R BT.601)."""
MID_GREY = 1.0
"""Mid-grey above black in the network's input units, where black is -1."""
TOP = 127.0 / 128.0
"""White in the network's input units."""


def draw_color(config: AugmentConfig, numbers: Numbers, count: Any) -> Any:
    """Color matrices [n, 3, 4]: saturation and hue first, then brightness about black, then contrast about mid-grey.

    On network inputs in -1..1: new = color[:, :, :3] @ rgb + color[:, :, 3].

    Source: P. Haeberli, "Matrix Operations for Image Processing" (1993): saturation towards luma, hue as a rotation
    about the grey axis (here by Rodrigues' formula).
    """
    xp, strength = numbers.xp, config.augment

    def factor(amount: float) -> Any:
        return 1 + min(amount * strength, 0.95) * numbers.uniform(-1.0, 1.0, (count, 1, 1))

    brightness, contrast, saturation = factor(config.brightness), factor(config.contrast), factor(config.saturation)
    angle = 2 * np.pi * config.hue * strength * numbers.uniform(-1.0, 1.0, (count, 1, 1))
    unit = numbers.constant(np.eye(3))
    grey = numbers.constant(np.full((3, 3), 1 / 3))
    axis = numbers.constant(np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3))
    turn = xp.cos(angle) * unit + (1 - xp.cos(angle)) * grey + xp.sin(angle) * axis
    saturate = saturation * unit + (1 - saturation) * numbers.constant(LUMA[None, None, :])
    linear = contrast * brightness * (turn @ saturate)
    offset = contrast * (brightness - 1) * MID_GREY * xp.ones_like(linear[:, :, :1])
    return xp.concatenate([linear, offset], axis=2)


def followed_by(numbers: Numbers, first: Any, second: Any) -> Any:
    """The color matrices [n, 3, 4] that do the first and then the second."""
    xp = numbers.xp
    linear = xp.matmul(second[:, :, :3], first[:, :, :3])
    offset = xp.matmul(second[:, :, :3], first[:, :, 3:]) + second[:, :, 3:]
    return xp.concatenate([linear, offset], axis=2)


def recolor(photos: Any, color: Any) -> Any:
    """The photos float32 [n, h, w, 3] with their colors multiplied by the matrices [n, 3, 4], within -1..127/128."""
    height, width = photos.shape[1], photos.shape[2]
    matrix = ops.transpose(color[:, :, :3], (0, 2, 1))
    colored = ops.matmul(ops.reshape(photos, (-1, height * width, 3)), matrix) + color[:, None, :, 3]
    return ops.reshape(ops.clip(colored, -1.0, TOP), (-1, height, width, 3))
