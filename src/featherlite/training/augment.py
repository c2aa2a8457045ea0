"""Augmentation drawn in NumPy: one affine transform and one color matrix a photo.

All randomness is here and comes from the generator that is handed in, so that a batch can be drawn again exactly.
Flip, rotation, zoom, stretch and shift become a single resampling of the photo; brightness, contrast, saturation and
hue a single matrix product. The compiled train step applies them (`trainee.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherlite.training.config import FitConfig

__all__ = ["IDENTITY_AFFINE", "IDENTITY_COLOR", "Draws", "draw"]

Floats = NDArray[np.float32]

IDENTITY_AFFINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
IDENTITY_COLOR = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in perceived light (ITU-R BT.601)."""
MID_GREY = 1.0
"""Mid-grey above black in the network's input units, where black is -1."""


@dataclass(frozen=True)
class Draws:
    """What happens to each photo of one batch of n.

    `affine` float32 [n, 8]: where output pixel (x, y) is taken from, x' = a0 x + a1 y + a2, y' = a3 x + a4 y + a5.
    `color` float32 [n, 3, 4]: on network inputs in -1..1, new = color[:, :, :3] @ rgb + color[:, :, 3].
    `box` float32 [n, 4]: left, top, right, bottom in pixels of the greyed rectangle; empty where left >= right.
    `share` float32 [n]: the photo's own share; the rest comes from its partner, the batch in reverse order.
    """

    affine: Floats
    color: Floats
    box: Floats
    share: Floats


def draw(config: FitConfig, rng: np.random.Generator, count: int, height: int, width: int) -> Draws:
    """Draws for `count` photos of height x width; the same generator state gives the same draws."""
    strength = config.augment
    return Draws(
        _affine(config, strength, rng, count, height, width).astype(np.float32),
        _color(config, strength, rng, count).astype(np.float32),
        _box(config.erase * strength, rng, count, height, width).astype(np.float32),
        _share(config.mixup * strength, rng, count).astype(np.float32),
    )


def _affine(
    config: FitConfig, strength: float, rng: np.random.Generator, count: int, height: int, width: int
) -> NDArray[np.float64]:
    def signed() -> NDArray[np.float64]:
        return rng.uniform(-1.0, 1.0, count)

    mirror = np.where((rng.random(count) < 0.5) & config.flip & (strength > 0), -1.0, 1.0)
    angle = np.deg2rad(config.rotate_deg * strength) * signed()
    zoom = (1 + config.zoom * strength) ** signed()
    stretch = (1 + config.stretch * strength) ** (signed() / 2)
    move_x = config.shift * strength * width * signed()
    move_y = config.shift * strength * height * signed()
    cos, sin = np.cos(angle), np.sin(angle)
    # Output to input about the photo's center: unmirror, turn, scale, move.
    a0, a1 = mirror * cos / (zoom * stretch), -sin / (zoom * stretch)
    a3, a4 = mirror * sin / (zoom / stretch), cos / (zoom / stretch)
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    a2 = center_x - a0 * center_x - a1 * center_y + move_x
    a5 = center_y - a3 * center_x - a4 * center_y + move_y
    zero = np.zeros(count)
    return np.stack([a0, a1, a2, a3, a4, a5, zero, zero], axis=1)


def _color(config: FitConfig, strength: float, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Color matrices [n, 3, 4]: saturation and hue first, then brightness about black, then contrast about mid-grey.

    Source: P. Haeberli, "Matrix Operations for Image Processing" (1993): saturation towards luma, hue as a rotation
    about the grey axis (here by Rodrigues' formula).
    """

    def factor(amount: float) -> NDArray[np.float64]:
        return 1 + min(amount * strength, 0.95) * rng.uniform(-1.0, 1.0, (count, 1, 1))

    brightness, contrast, saturation = factor(config.brightness), factor(config.contrast), factor(config.saturation)
    angle = 2 * np.pi * config.hue * strength * rng.uniform(-1.0, 1.0, (count, 1, 1))
    unit = np.eye(3)
    grey = np.full((3, 3), 1 / 3)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * unit + (1 - np.cos(angle)) * grey + np.sin(angle) * axis
    saturate = saturation * unit + (1 - saturation) * LUMA[None, None, :]
    linear = contrast * brightness * (turn @ saturate)
    offset = np.broadcast_to(contrast * (brightness - 1) * MID_GREY, (count, 3, 1))
    return np.concatenate([linear, offset], axis=2)


def _box(share: float, rng: np.random.Generator, count: int, height: int, width: int) -> NDArray[np.float64]:
    """Rectangles of 2% to 25% of the area, aspect 1/3 to 3; empty for the photos that are spared.

    Source: Z. Zhong et al., "Random Erasing Data Augmentation" (arXiv:1708.04896), algorithm 1.
    """
    chosen = rng.random(count) < share
    area = rng.uniform(0.02, 0.25, count)
    aspect = np.exp(rng.uniform(np.log(1 / 3), np.log(3), count))
    tall = np.minimum(np.sqrt(area * aspect), 1.0) * height
    wide = np.minimum(np.sqrt(area / aspect), 1.0) * width
    left, top = rng.random(count) * (width - wide), rng.random(count) * (height - tall)
    box = np.stack([left, top, left + wide, top + tall], axis=1)
    return np.where(chosen[:, None], box, 0.0)


def _share(alpha: float, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Shares from Beta(alpha, alpha), mirrored to 0.5..1 so that the photo itself leads; 1 where alpha is 0.

    Source: H. Zhang et al., "mixup: Beyond Empirical Risk Minimization" (arXiv:1710.09412), equation 2.
    """
    if alpha <= 0:
        return np.ones(count)
    drawn = rng.beta(alpha, alpha, count)
    return np.maximum(drawn, 1 - drawn)
