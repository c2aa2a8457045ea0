"""What several corruptions are made of: convolution, kernels that are sharp at any size, noise like clouds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featherlite.data.corrupt._light import Floats

__all__ = ["clouds", "convolve", "coordinates", "disc", "line", "scattered", "short_side", "smooth"]


def short_side(scene: Floats) -> int:
    """The shorter side in pixels: what lengths are relative to."""
    height, width = scene.shape[:2]
    return int(min(height, width))


def coordinates(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Rows float32 [h, 1] and columns float32 [1, w] of pixel centers."""
    rows, columns = np.arange(shape[0], dtype=np.float32), np.arange(shape[1], dtype=np.float32)
    return rows[:, None], columns[None, :]


def convolve(image: Floats, *kernels: Floats) -> Floats:
    """The image, float32 [h, w] or [h, w, 3], convolved with square kernels of odd side; edges are mirrored.

    Kernels are taken as they are: one that sums to 1 keeps the brightness.
    """
    height, width = image.shape[:2]
    margin = sum(len(kernel) // 2 for kernel in kernels)
    # Mirrored by hand where the margin is wider than the photo; np.pad repeats the mirroring.
    around = [(margin, margin), (margin, margin), (0, 0)][: image.ndim]
    padded = np.pad(image, around, mode="symmetric")
    size = (_good_length(padded.shape[0]), _good_length(padded.shape[1]))
    spectrum = np.fft.rfft2(padded, size, axes=(0, 1))
    for kernel in kernels:
        factor = np.fft.rfft2(kernel, size)
        spectrum *= factor[..., None] if image.ndim == 3 else factor
    whole = np.fft.irfft2(spectrum, size, axes=(0, 1))
    corner = 2 * margin  # the kernels' own centers lie `margin` in, and so does the photo
    return np.asarray(whole[corner : corner + height, corner : corner + width], np.float32)


def _good_length(at_least: int) -> int:
    """The next length of the form 2^a 3^b 5^c, for which the transform is quick."""
    length = at_least
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def disc(radius: float) -> Floats:
    """A disc as coverage 0..1 of pixels, its rim antialiased: float32 [side, side], side odd."""
    reach = int(np.ceil(radius + 0.5))
    at = np.arange(-reach, reach + 1, dtype=np.float32)
    distance = np.hypot(at[:, None], at[None, :])
    return np.asarray(np.clip(radius + 0.5 - distance, 0, 1) * min(1.0, 4 * radius * radius), np.float32)


def line(length: float, angle: float, thickness: float = 1.0) -> Floats:
    """A straight line about the center, `length` pixels at `angle` (radians from the x axis), as coverage 0..1.

    float32 [side, side], side odd.
    """
    reach = int(np.ceil((length + thickness) / 2 + 0.5))
    at = np.arange(-reach, reach + 1, dtype=np.float32)
    along = at[None, :] * np.float32(np.cos(angle)) + at[:, None] * np.float32(np.sin(angle))
    across = at[:, None] * np.float32(np.cos(angle)) - at[None, :] * np.float32(np.sin(angle))
    inside = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(thickness / 2 + 0.5 - np.abs(across), 0, 1)
    return np.asarray(inside * min(1.0, thickness), np.float32)


def scattered(rng: np.random.Generator, shape: tuple[int, ...], count: float) -> Floats:
    """Bright points, `count` in a square of the short side on average, 0.5..1 bright, on black: float32 [h, w].

    They lie anywhere between the pixels, each shared among the four around it, so that what is drawn from them does not
    look stamped. The same generator state with a larger count keeps those there were and adds others.
    """
    chance, brightness, right, down = rng.random((4, *shape[:2]), np.float32)
    chosen = np.where(chance < count / min(shape[:2]) ** 2, 0.5 + brightness / 2, np.float32(0))
    points = np.zeros(shape[:2], np.float32)
    points += chosen * (1 - right) * (1 - down)
    points[:, 1:] += (chosen * right * (1 - down))[:, :-1]
    points[1:] += (chosen * (1 - right) * down)[:-1]
    points[1:, 1:] += (chosen * right * down)[:-1, :-1]
    return points


def smooth(small: NDArray[np.floating], shape: tuple[int, ...]) -> Floats:
    """A coarse field [a, b] enlarged without corners: float32 [h, w]."""
    image = Image.fromarray(np.asarray(small, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float32)


def clouds(rng: np.random.Generator, shape: tuple[int, ...], cells: int = 3, octaves: int = 4) -> Floats:
    """Noise like clouds, float32 [h, w], mean 0 and deviation 1; the largest lumps are 1 / cells of the short side.

    Source: K. Perlin, "An Image Synthesizer", SIGGRAPH 1985: octaves, each twice as fine and half as strong.
    """
    short = min(shape[:2])
    total = np.zeros(shape[:2], np.float32)
    for octave in range(octaves):
        fine = cells * 2**octave
        grid = rng.standard_normal((fine * shape[0] // short + 2, fine * shape[1] // short + 2), np.float32)
        total += smooth(grid, shape) / 2**octave
    total -= total.mean()
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)
