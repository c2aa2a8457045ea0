"""Splines, local frames and soft-edged filling: the pencil that birds, perches and scenes are drawn with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = NDArray[np.float64]
Color = tuple[int, int, int]


def rotation(degrees: float) -> Points:
    """A 2x2 matrix that turns points counter-clockwise (y up)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


@dataclass(frozen=True, slots=True)
class Frame:
    """A local coordinate system, y up, placed on a canvas whose y points down."""

    matrix: Points
    origin: Points

    def __call__(self, points: ArrayLike) -> Points:
        """Canvas positions (n, 2) in pixels of local `points` (n, 2) or one (2,)."""
        turned: Points = np.asarray(points, dtype=np.float64) @ self.matrix.T
        return turned * (1.0, -1.0) + self.origin

    def moved(self, offset: ArrayLike) -> Frame:
        """The same frame on a canvas whose corner lies at `offset` pixels of the old one."""
        return Frame(self.matrix, self.origin - np.asarray(offset, dtype=np.float64))


@lru_cache(maxsize=16)
def _catmull_rom(samples: int) -> Points:
    """Weights (samples, 4) of four neighbouring points along one segment of a uniform Catmull-Rom spline.

    Source: Catmull and Rom, A class of local interpolating splines, 1974; the matrix form with tension 1/2.
    """
    t = np.arange(samples) / samples
    powers = np.stack([np.ones_like(t), t, t**2, t**3], axis=1)
    basis = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]])
    weights: Points = powers @ basis
    return weights


@lru_cache(maxsize=64)
def _neighbors(count: int) -> NDArray[np.int_]:
    """The numbers (4, count) of the point before, at, after and two after each point of a closed curve."""
    numbers: NDArray[np.int_] = (np.arange(count)[None, :] + np.array([-1, 0, 1, 2])[:, None]) % count
    return numbers


@lru_cache(maxsize=16)
def _circle(samples: int) -> Points:
    t = np.linspace(0, 2 * math.pi, samples, endpoint=False)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


def spline(points: ArrayLike, closed: bool = True, samples: int = 6) -> Points:
    """A smooth curve (m, 2) that passes through every one of `points` (n, 2), closed or open."""
    p = np.asarray(points, dtype=np.float64)
    count = len(p)
    if closed:
        around = p[_neighbors(count)]
    else:
        padded = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
        count -= 1
        around = np.stack([padded[i : i + count] for i in range(4)])
    curve: Points = np.einsum("sk,knd->nsd", _catmull_rom(samples), around).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-1:]])


def ellipse(center: ArrayLike, rx: float, ry: float, samples: int = 20, degrees: float = 0.0) -> Points:
    """The outline (samples, 2) of an ellipse, turned by `degrees`."""
    ring: Points = _circle(samples) * (rx, ry)
    if degrees:
        ring = ring @ rotation(degrees).T
    return ring + np.asarray(center, dtype=np.float64)


def ribbon(line: Points, widths: ArrayLike) -> Points:
    """The outline (2n, 2) of a band along `line` (n, 2) that is `widths` (n,) or one width across."""
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(normal[:, 0], normal[:, 1])[:, None], 1e-9)
    half = 0.5 * np.broadcast_to(np.asarray(widths, dtype=np.float64), (len(line),))[:, None]
    return np.concatenate([line + normal * half, (line - normal * half)[::-1]])


def shifted(points: Points, dx: float, dy: float) -> Points:
    """Points (n, 2) or (2,) moved by (dx, dy)."""
    moved: Points = points + np.array([dx, dy])
    return moved


def flat(points: Points) -> list[float]:
    """Points (n, 2) as Pillow wants them: x, y, x, y, ..."""
    coordinates: list[float] = points.ravel().tolist()
    return coordinates


def shade(color: Color, factor: float) -> Color:
    """`color` made lighter (factor above 1) or darker."""
    return (
        min(255, max(0, round(color[0] * factor))),
        min(255, max(0, round(color[1] * factor))),
        min(255, max(0, round(color[2] * factor))),
    )


def blend(a: Color, b: Color, share: float) -> Color:
    """`share` of `b` mixed into `a`."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def fill(image: Image.Image, points: Points, color: Color | int, soft: float = 0.0, alpha: float = 1.0) -> None:
    """Fill a polygon in place, its edge blurred by `soft` pixels and its paint `alpha` opaque."""
    if soft < 0.4 and alpha >= 1.0:
        ImageDraw.Draw(image).polygon(flat(points), fill=color)
        return
    pad = math.ceil(2.5 * soft) + 1
    low = np.maximum(np.floor(points.min(0)) - pad, 0).astype(int)
    high = np.minimum(np.ceil(points.max(0)) + pad, image.size).astype(int)
    width, height = int(high[0] - low[0]), int(high[1] - low[1])
    if width < 1 or height < 1:
        return
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).polygon(flat(points - low), fill=round(255 * alpha))
    if soft >= 0.4:
        mask = mask.filter(ImageFilter.GaussianBlur(soft))
    image.paste(color, (int(low[0]), int(low[1])), mask)


def stroke(image: Image.Image, points: Points, color: Color | int, width: float) -> None:
    """Draw a line in place, at least one pixel wide."""
    ImageDraw.Draw(image).line(flat(points), fill=color, width=max(1, round(width)), joint="curve")


@lru_cache(maxsize=4)
def cloud_noise(size: int, cells: int, seed: int) -> NDArray[np.float32]:
    """Smooth noise (size, size) float32 in [0, 1] with about `cells` swells a side."""
    grain = np.random.default_rng([7, seed]).integers(0, 256, (cells, cells), dtype=np.uint8)
    swell = Image.fromarray(grain).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(swell, dtype=np.float32) / 255.0


@lru_cache(maxsize=1)
def streak_noise() -> Image.Image:
    """An L image, 512x512, of fine streaks that run along x: barbs of feathers."""
    grain = np.random.default_rng(11).normal(0, 1, (512, 512)).astype(np.float32)
    spectrum = np.fft.rfft2(grain)
    fy = np.fft.fftfreq(512)[:, None]
    fx = np.fft.rfftfreq(512)[None, :]
    spectrum *= np.exp(-((fx * 34) ** 2) - ((fy * 5.0) ** 2))
    field = np.fft.irfft2(spectrum, s=(512, 512))
    return Image.fromarray(np.clip(128 + 42 * field / field.std(), 0, 255).astype(np.uint8))


@lru_cache(maxsize=1)
def scale_noise() -> Image.Image:
    """An L image, 512x512, of overlapping rounded feathers with pale rims, tips towards -x."""
    image = Image.new("L", (512, 512), 128)
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(13)
    for column in range(44):
        x = -10 + column * 12.5
        for row in range(28):
            y = row * 20 - 10 + (column % 2) * 10 + float(rng.normal(0, 1.5))
            tone = int(rng.integers(112, 140))
            draw.ellipse((x - 14, y - 11, x + 16, y + 11), fill=min(255, tone + 38))
            draw.ellipse((x - 10, y - 9, x + 18, y + 9), fill=tone)
            draw.ellipse((x + 2, y - 7, x + 22, y + 7), fill=tone - 26)
    return image.filter(ImageFilter.GaussianBlur(1.6))
