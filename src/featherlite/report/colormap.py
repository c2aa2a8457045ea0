"""A perceptually even colormap from deep violet to pale yellow, computed rather than stored."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["colormap", "oklab_to_srgb", "srgb_to_oklab"]

Floats = NDArray[np.float64]

STOPS = (
    # lightness, chroma, hue in degrees: the path through OKLCh, all of it within what a screen can show
    (0.24, 0.090, 285.0),
    (0.38, 0.150, 310.0),
    (0.53, 0.180, 350.0),
    (0.66, 0.180, 385.0),
    (0.80, 0.145, 425.0),
    (0.93, 0.110, 463.0),
)

LMS_OF_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB_OF_LMS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def colormap() -> NDArray[np.uint8]:
    """256 colors, uint8 [256, 3], sRGB: each differs from the next by as much, and is lighter than the one before."""
    at = np.linspace(0, 1, 4096)
    lightness, chroma, hue = (_smooth(at, [stop[part] for stop in STOPS]) for part in range(3))
    path = np.stack([lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    even = np.stack([np.interp(np.linspace(0, length[-1], 256), length, one) for one in path.T], axis=1)
    colors: NDArray[np.uint8] = np.rint(np.clip(oklab_to_srgb(even), 0, 1) * 255).astype(np.uint8)
    colors.setflags(write=False)
    return colors


def oklab_to_srgb(lab: Floats) -> Floats:
    """The sRGB colors [n, 3] of OKLab ones [n, 3]; what no screen can show lies outside 0..1.

    Source: B. Ottosson, "A perceptual color space for image processing" (2020); the curve is that of IEC 61966-2-1.
    """
    linear = (lab @ np.linalg.inv(LAB_OF_LMS).T) ** 3 @ np.linalg.inv(LMS_OF_RGB).T
    bent = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, bent))


def srgb_to_oklab(rgb: Floats) -> Floats:
    """The OKLab colors [n, 3] of sRGB ones [n, 3] in 0..1; the inverse of `oklab_to_srgb`."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ LMS_OF_RGB.T) @ LAB_OF_LMS.T)


def _smooth(at: Floats, values: list[float]) -> Floats:
    """A smooth curve through evenly spaced values, without overshoot between rising ones (Catmull-Rom)."""
    points = np.array([2 * values[0] - values[1], *values, 2 * values[-1] - values[-2]])
    place = at * (len(values) - 1)
    left = np.minimum(place.astype(int), len(values) - 2)
    t = place - left
    a, b, c, d = (points[left + step] for step in range(4))
    return np.asarray(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
