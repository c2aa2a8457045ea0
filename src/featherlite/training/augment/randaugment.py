"""RandAugment: a few changes drawn from a list, all at one strength.

What is geometry joins the photo's one resampling and what is color its one matrix, so that however many changes are
drawn, a photo is resampled once. The rest is done point by point (`touch_up`). Of the paper's list 'equalize' is left
out, which needs a histogram of each photo; contrast turns about mid-grey, not about the photo's mean; and the changes
of one photo happen in a fixed order: geometry, color, autocontrast, solarize, posterize, sharpness.

Source: E. D. Cubuk et al., "RandAugment" (arXiv:1909.13719), section 3; the ranges are those of AutoAugment
(arXiv:1805.09501), table 6, reached at magnitude 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from featherlite.training.augment.color import IDENTITY_COLOR, LUMA, MID_GREY, TOP, followed_by
from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.numbers import Numbers

__all__ = ["CHANGES", "IDENTITY_POINTS", "draw_changes", "touch_up"]

CHANGES = (
    "identity",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "saturation",
    "contrast",
    "brightness",
    "sharpness",
    "autocontrast",
    "solarize",
    "posterize",
)
ROTATE_DEG, SHEAR, TRANSLATE, ENHANCE = 30.0, 0.3, 0.45, 0.9
"""The reach at magnitude 10 of turning, of shearing, of moving (share of the side), and of factors about 1."""
FEWEST_BITS = 4

IDENTITY_POINTS = (0.0, 256.0, 1.0, 1.0)
"""Point changes of a photo that is spared: no autocontrast, solarized from 256 up, posterized in steps of 1, sharp."""


def draw_changes(config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int) -> tuple[Any, Any, Any]:
    """What the changes come to: homographies [n, 3, 3], color matrices [n, 3, 4], point changes [n, 4].

    Point changes are: autocontrast (1 or 0), the level from which on light is inverted (256: none), the step to which
    levels are rounded down (1: none), and the factor of sharpness (1: as it is).
    """
    xp, reach = numbers.xp, min(config.randaugment_magnitude * config.augment, 10.0) / 10
    # One constant matrix per change, picked by a row of noughts and ones: nothing is indexed by a drawn number.
    geometry, color = numbers.constant(np.eye(3)), numbers.constant(np.array([IDENTITY_COLOR]))
    points = numbers.constant(np.array([IDENTITY_POINTS]))
    for _ in range(config.randaugment):
        kind = xp.floor(numbers.random(count) * len(CHANGES))
        sign = xp.where(numbers.random(count) < 0.5, -1.0, 1.0)
        move, chosen = reach * sign, {name: _is(numbers, kind, place) for place, name in enumerate(CHANGES)}
        geometry = xp.matmul(geometry, _geometry_matrix(numbers, move, chosen, height, width))
        factor = ENHANCE * move
        one = _color_matrix(
            numbers,
            1 + factor * chosen["brightness"],
            1 + factor * chosen["contrast"],
            1 + factor * chosen["saturation"],
        )
        color = followed_by(numbers, color, one)
        points = _point_changes(numbers, points, factor, chosen, reach)
    return geometry, color, points


def _is(numbers: Numbers, kind: Any, place: int) -> Any:
    """1 for the photos that drew this change, else 0: [n]."""
    xp = numbers.xp
    return xp.where(kind == place, xp.ones_like(kind), xp.zeros_like(kind))


def _geometry_matrix(numbers: Numbers, move: Any, chosen: dict[str, Any], height: int, width: int) -> Any:
    """Output to input, about the center: [n, 3, 3]; the identity for a photo that drew another change."""
    xp = numbers.xp
    angle = np.deg2rad(ROTATE_DEG) * move * chosen["rotate"]
    cos, sin = xp.cos(angle), xp.sin(angle)
    a0, a1 = cos, SHEAR * move * chosen["shear_x"] - sin
    a3, a4 = SHEAR * move * chosen["shear_y"] + sin, cos
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    a2 = center_x - a0 * center_x - a1 * center_y + TRANSLATE * width * move * chosen["translate_x"]
    a5 = center_y - a3 * center_x - a4 * center_y + TRANSLATE * height * move * chosen["translate_y"]
    zero, one = xp.zeros_like(a0), xp.ones_like(a0)
    return xp.reshape(xp.stack([a0, a1, a2, a3, a4, a5, zero, zero, one], axis=1), (-1, 3, 3))


def _color_matrix(numbers: Numbers, brightness: Any, contrast: Any, saturation: Any) -> Any:
    """Factors [n] as one matrix each, [n, 3, 4], as in `color.py`."""
    xp = numbers.xp
    light, spread, strength = (xp.reshape(factor, (-1, 1, 1)) for factor in (brightness, contrast, saturation))
    luma = numbers.constant(LUMA[None, None, :])
    linear = spread * light * (strength * numbers.constant(np.eye(3)) + (1 - strength) * luma)
    offset = spread * (light - 1) * MID_GREY * xp.ones_like(linear[:, :, :1])
    return xp.concatenate([linear, offset], axis=2)


def _point_changes(numbers: Numbers, points: Any, factor: Any, chosen: dict[str, Any], reach: float) -> Any:
    xp = numbers.xp
    autocontrast = xp.maximum(points[:, 0], chosen["autocontrast"])
    solarize = xp.minimum(points[:, 1], 256 - 256 * reach * chosen["solarize"])
    step = 2.0 ** round((8 - FEWEST_BITS) * reach)
    posterize = xp.maximum(points[:, 2], 1 + (step - 1) * chosen["posterize"])
    sharpness = points[:, 3] * (1 + factor * chosen["sharpness"])
    return xp.stack([autocontrast, solarize, posterize, sharpness], axis=1)


def touch_up(photos: Any, points: Any) -> Any:
    """The photos float32 [n, h, w, 3] in -1..127/128 with their point changes [n, 4] done."""
    autocontrast, solarize, step, sharpness = (points[:, place][:, None, None, None] for place in range(4))
    low = ops.min(photos, axis=(1, 2), keepdims=True)
    high = ops.max(photos, axis=(1, 2), keepdims=True)
    full = (photos - low) * ((TOP + 1.0) / ops.maximum(high - low, 1.0 / 128.0)) - 1.0
    photos = ops.where(autocontrast > 0.5, full, photos)
    level = (photos + 1.0) * 128.0
    level = ops.where(level >= solarize, 255.0 - level, level)
    level = ops.where(step > 1.5, ops.floor(level / step) * step, level)
    photos = level * (1.0 / 128.0) - 1.0
    # The blurred twin has 5/13 of the pixel and 1/13 of each neighbor, as Pillow's SMOOTH.
    ring = ops.average_pool(photos, 3, strides=1, padding="same", data_format="channels_last") * 9.0
    smooth = (ring + 4.0 * photos) * (1.0 / 13.0)
    inner = inner_of(photos.shape[1], photos.shape[2])
    sharp = ops.where(inner, smooth + sharpness * (photos - smooth), photos)
    return ops.clip(sharp, -1.0, TOP)


def inner_of(height: int, width: int) -> Any:
    """Where a pixel has eight neighbors: bool [1, h, w, 1]; the rim is left as it is."""
    y, x = np.mgrid[:height, :width]
    within = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
    return ops.convert_to_tensor(within[None, :, :, None])
