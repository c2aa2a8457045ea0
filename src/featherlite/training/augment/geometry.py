"""Geometry: flip, rotation, zoom, stretch, shift and perspective, as a single resampling of the photo."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.numbers import Numbers

__all__ = ["IDENTITY_AFFINE", "after", "draw_affine", "draw_tilt", "homogeneous", "resample", "terms"]

IDENTITY_AFFINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


def draw_affine(config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int) -> Any:
    """Where output pixel (x, y) is taken from, [n, 8]: x' = a0 x + a1 y + a2, y' = a3 x + a4 y + a5; a6 = a7 = 0."""
    xp, strength = numbers.xp, config.augment

    def signed() -> Any:
        return numbers.uniform(-1.0, 1.0, count)

    mirror = xp.where((numbers.random(count) < 0.5) & (config.flip and strength > 0), -1.0, 1.0)
    angle = np.deg2rad(config.rotate_deg * strength) * signed()
    zoom = (1 + config.zoom * strength) ** signed()
    stretch = (1 + config.stretch * strength) ** (signed() / 2)
    move_x = config.shift * strength * width * signed()
    move_y = config.shift * strength * height * signed()
    cos, sin = xp.cos(angle), xp.sin(angle)
    # Output to input about the photo's center: unmirror, turn, scale, move.
    a0, a1 = mirror * cos / (zoom * stretch), -sin / (zoom * stretch)
    a3, a4 = mirror * sin / (zoom / stretch), cos / (zoom / stretch)
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    a2 = center_x - a0 * center_x - a1 * center_y + move_x
    a5 = center_y - a3 * center_x - a4 * center_y + move_y
    zero = xp.zeros_like(a0)
    return xp.stack([a0, a1, a2, a3, a4, a5, zero, zero], axis=1)


def draw_tilt(config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int) -> Any:
    """Homographies [n, 3, 3], output to input, of a picture that is looked at from the side or from below.

    About the center, in units of half the width and height, (x, y) is taken from (x, y) / (1 + p x + q y): where that
    divisor is below 1 the picture has come nearer. |p| + |q| stays within `perspective`, so that it never reaches 0.

    Source: R. Hartley and A. Zisserman, "Multiple View Geometry" (2nd edition), section 2.3: the elation part of a
    homography.
    """
    xp, reach = numbers.xp, min(config.perspective * config.augment, 0.9)
    p, q = numbers.uniform(-1.0, 1.0, count), numbers.uniform(-1.0, 1.0, count)
    within = reach / xp.maximum(xp.abs(p) + xp.abs(q), 1.0)
    p, q = p * within / max((width - 1) / 2, 0.5), q * within / max((height - 1) / 2, 0.5)
    x, y = (width - 1) / 2, (height - 1) / 2
    # center @ [[1, 0, 0], [0, 1, 0], [p, q, 1]] @ -center, multiplied out
    away = 1 - p * x - q * y
    one, zero = xp.ones_like(p), xp.zeros_like(p)
    rows = [
        xp.stack([one + x * p, x * q, x * away - x], axis=1),
        xp.stack([y * p, one + y * q, y * away - y], axis=1),
        xp.stack([p + zero, q + zero, away], axis=1),
    ]
    return xp.stack(rows, axis=1)


def homogeneous(numbers: Numbers, affine: Any) -> Any:
    """The eight terms [n, 8] as matrices [n, 3, 3]."""
    xp = numbers.xp
    return xp.reshape(xp.concatenate([affine, xp.ones_like(affine[:, :1])], axis=1), (-1, 3, 3))


def terms(numbers: Numbers, matrix: Any) -> Any:
    """Homographies [n, 3, 3] as their eight terms [n, 8], the ninth being 1."""
    flat = numbers.xp.reshape(matrix, (-1, 9))
    return flat[:, :8] / flat[:, 8:]


def after(numbers: Numbers, affine: Any, later: Any) -> Any:
    """The eight terms [n, 8] of a transform with another one, homographies [n, 3, 3], done to its result."""
    return terms(numbers, numbers.xp.matmul(homogeneous(numbers, affine), later))


def on_accelerator() -> bool:
    """Whether the backend computes on something other than the CPU."""
    return any(not device.lower().startswith("cpu") for device in keras.distribution.list_devices())


def compilable() -> bool:
    """Whether resampling is made of what XLA can compile: TensorFlow's own kernel, the quicker one on a CPU, is not."""
    return keras.backend.backend() != "tensorflow" or on_accelerator()


def resample(photos: Any, affine: Any, *, projective: bool) -> Any:
    """The photos float32 [n, h, w, 3] resampled bilinearly as the terms [n, 8] say, mirrored beyond their edges."""
    # Keras honors the last two terms under TensorFlow's kernel alone.
    if compilable() and (projective or keras.backend.backend() == "tensorflow"):
        return gathered(photos, affine)
    return ops.image.affine_transform(
        photos, affine, interpolation="bilinear", fill_mode="reflect", data_format="channels_last"
    )


def gathered(photos: Any, affine: Any) -> Any:
    """As `resample`, made of gathers alone: what every backend can do."""
    height, width = photos.shape[1], photos.shape[2]
    x = ops.reshape(ops.tile(ops.arange(width, dtype="float32"), (height,)), (1, -1))
    y = ops.reshape(ops.repeat(ops.arange(height, dtype="float32"), width), (1, -1))
    a = [affine[:, term][:, None] for term in range(8)]
    scale = a[6] * x + a[7] * y + 1.0
    from_x = (a[0] * x + a[1] * y + a[2]) / scale
    from_y = (a[3] * x + a[4] * y + a[5]) / scale
    left, top = ops.floor(from_x), ops.floor(from_y)
    right_share, low_share = (from_x - left)[..., None], (from_y - top)[..., None]
    flat = ops.reshape(photos, (-1, height * width, 3))

    def at(column: Any, row: Any) -> Any:
        index = _mirrored(row, height) * width + _mirrored(column, width)
        return ops.take_along_axis(flat, index[..., None], axis=1)

    upper = at(left, top) * (1.0 - right_share) + at(left + 1.0, top) * right_share
    lower = at(left, top + 1.0) * (1.0 - right_share) + at(left + 1.0, top + 1.0) * right_share
    return ops.reshape(upper * (1.0 - low_share) + lower * low_share, (-1, height, width, 3))


def _mirrored(place: Any, size: int) -> Any:
    """Places beyond 0 .. size-1 mirrored back at the outer rim of the edge pixels, as whole numbers."""
    turned = ops.mod(place, 2.0 * size)
    return ops.cast(ops.minimum(turned, 2.0 * size - 1.0 - turned), "int32")
