"""JPEG."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.training.augment.weather._light import between

__all__ = ["compressed", "jpeg"]

BLOCK = 8
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Steps of quantization at quality 50. Source: ITU-T T.81, tables K.1 and K.2."""
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
"""Source: ITU-T T.871, section 6.2."""


def jpeg(light: Any, strength: Any, free: Any) -> Any:  # noqa: ARG001
    """The photos as a JPEG of quality 50 down to 5 brings them back, in blocks of the size they have here."""
    return compressed(light, between(50.0, 5.0, strength))


def compressed(light: Any, quality: Any) -> Any:
    """Encoded light [n, h, w, 3] in 0..1 through a JPEG of these qualities [n] with color at half the resolution.

    Source: ITU-T T.81, sections A.3.3 and A.3.4, and the scaling of the Independent JPEG Group for `quality`.
    """
    height, width = light.shape[1], light.shape[2]
    edges = ((0, 0), (0, -height % (2 * BLOCK)), (0, -width % (2 * BLOCK)), (0, 0))
    ycc = ops.matmul(ops.pad(light * 255.0, edges, mode="symmetric"), TO_YCC.T) - np.array(
        [128.0, 0.0, 0.0], np.float32
    )
    scale = ops.where(quality < 50.0, 5000.0 / quality, 200.0 - 2.0 * quality)
    luma = _quantized(ycc[..., :1], scale, np.array(LUMINANCE, np.float32))
    halved = ops.average_pool(ycc[..., 1:], 2, strides=2, data_format="channels_last")
    chroma = _quantized(halved, scale, np.array(CHROMINANCE, np.float32))
    chroma = ops.image.resize(
        chroma, (luma.shape[1], luma.shape[2]), interpolation="bilinear", data_format="channels_last"
    )
    back = np.linalg.inv(TO_YCC.astype(np.float64)).astype(np.float32)
    rgb = ops.matmul(ops.concatenate([luma + 128.0, chroma], axis=-1), back.T)
    return ops.clip(rgb[:, :height, :width] * (1.0 / 255.0), 0.0, 1.0)


def _quantized(planes: Any, scale: Any, table: NDArray[np.float32]) -> Any:
    """Planes [n, h, w, c], sides multiples of 8, after transform, rounding to the table's steps, and transform back."""
    high, wide, channels = planes.shape[1] // BLOCK, planes.shape[2] // BLOCK, planes.shape[3]
    steps = ops.clip(ops.floor((table[None] * ops.reshape(scale, (-1, 1, 1)) + 50.0) / 100.0), 1.0, 255.0)
    blocks = ops.transpose(ops.reshape(planes, (-1, high, BLOCK, wide, BLOCK, channels)), (0, 1, 3, 5, 2, 4))
    blocks = ops.reshape(blocks, (-1, high * wide * channels, BLOCK * BLOCK))
    cosines = _cosines()
    steps = ops.reshape(steps, (-1, 1, BLOCK * BLOCK))
    rounded = ops.round(ops.matmul(blocks, cosines.T) / steps) * steps
    blocks = ops.reshape(ops.matmul(rounded, cosines), (-1, high, wide, channels, BLOCK, BLOCK))
    return ops.reshape(ops.transpose(blocks, (0, 1, 4, 2, 5, 3)), (-1, high * BLOCK, wide * BLOCK, channels))


def _cosines() -> NDArray[np.float32]:
    """The two-dimensional cosine transform of a flattened block, orthonormal: float32 [64, 64].

    Source: ITU-T T.81, section A.3.3.
    """
    u, x = np.mgrid[:BLOCK, :BLOCK]
    one = np.sqrt(np.where(u == 0, 1.0, 2.0) / BLOCK) * np.cos((2 * x + 1) * u * np.pi / (2 * BLOCK))
    return np.asarray(np.kron(one, one), np.float32)
