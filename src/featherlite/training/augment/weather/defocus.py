"""Defocus."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from featherlite.training.augment.weather._light import between, decoded, encoded

__all__ = ["defocus"]

LARGEST = 0.04
"""Radius of the largest disc as a share of the short side."""
SMALLEST_PX = 0.65
"""A disc of half a pixel's radius is the pixel itself."""


def defocus(light: Any, strength: Any, free: Any) -> Any:  # noqa: ARG001
    """The photos out of focus: each point spread over a disc, the image of the lens's opening."""
    height, width = light.shape[1], light.shape[2]
    short = min(height, width)
    radius = ops.reshape(ops.maximum(between(0.008, LARGEST, strength) * short, SMALLEST_PX), (1, 1, -1, 1))
    reach = math.ceil(LARGEST * short)
    place = ops.arange(-reach, reach + 1, dtype="float32")
    distance = ops.sqrt(ops.square(place)[:, None] + ops.square(place)[None, :])[:, :, None, None]
    disc = ops.clip(radius + 0.5 - distance, 0.0, 1.0)
    disc = disc / ops.sum(disc, axis=(0, 1), keepdims=True)
    # A kernel a photo: the photos' channels lie side by side as the channels of one picture.
    edges = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    wide = ops.transpose(ops.pad(decoded(light), edges, mode="symmetric"), (1, 2, 0, 3))
    wide = ops.reshape(wide, (1, height + 2 * reach, width + 2 * reach, -1))
    spread = ops.depthwise_conv(wide, ops.repeat(disc, 3, axis=2), padding="valid", data_format="channels_last")
    return encoded(ops.transpose(ops.reshape(spread, (height, width, -1, 3)), (2, 0, 1, 3)))
