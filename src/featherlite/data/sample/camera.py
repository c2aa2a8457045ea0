"""Light that falls on a scene, and the camera that turns the drawing into a photo."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from featherlite.data.sample.shapes import cloud_noise


@dataclass(frozen=True, slots=True)
class Light:
    """Where light comes from (x, y in image directions) and how strong and warm it is."""

    kind: str
    x: float
    y: float
    ambient: float
    key: float
    tint: tuple[float, float, float]
    cast: tuple[float, float, float]


def draw_light(rng: np.random.Generator) -> Light:
    """A random time of day and sky."""
    kind = str(rng.choice(["sun", "evening", "overcast", "shade", "backlit"], p=[0.3, 0.18, 0.28, 0.14, 0.1]))
    side = float(rng.uniform(-75, 75))
    if kind == "evening":
        side = float(rng.choice([-1, 1])) * float(rng.uniform(45, 85))
    x, y = math.sin(math.radians(side)), -math.cos(math.radians(side))
    if kind == "sun":
        return Light(kind, x, y, 0.38, 0.95, (1.05, 1.0, 0.92), (1.02, 1.0, 0.97))
    if kind == "evening":
        return Light(kind, x, y, 0.34, 0.95, (1.12, 0.98, 0.8), (1.12, 0.99, 0.8))
    if kind == "overcast":
        return Light(kind, 0.3 * x, -1.0, 0.62, 0.5, (1.0, 1.0, 1.0), (0.97, 1.0, 1.03))
    if kind == "shade":
        return Light(kind, 0.5 * x, -0.9, 0.4, 0.48, (0.98, 1.0, 1.02), (0.9, 1.0, 1.1))
    return Light(kind, x, -abs(y), 0.24, 0.72, (1.1, 1.04, 0.9), (1.04, 1.0, 0.95))


def dappled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """`image` under broken light, as below a tree."""
    noise = cloud_noise(512, 14, 3)
    x, y = (int(v) for v in rng.integers(0, 256, 2))
    patch = np.clip((noise[y : y + 256, x : x + 256] - 0.48) * 5, 0, 1)
    veil = Image.fromarray((90 * patch).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    dark = image.point(lambda v: v * 0.45)
    return Image.composite(dark, image, veil.point(lambda v: v * 2))


def photograph(scene: Image.Image, px: int, light: Light, rng: np.random.Generator) -> Image.Image:
    """The scene as a px x px photo: lens blur, exposure, white balance, vignette and sensor noise."""
    image = scene.resize((px, px), Image.Resampling.BOX)
    blur = float(rng.gamma(1.2, 0.22)) * px / 160
    if blur > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(min(blur, 1.3 * px / 160)))
    pixels = np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
    balance = np.array(light.cast) * (1 + rng.normal(0, 0.045) * np.array([1, 0, -1]) + rng.normal(0, 0.012, 3))
    metered = float(np.clip((0.43 / max(float(pixels.mean()), 0.02)) ** 0.6, 0.75, 1.7))
    gain = balance * metered * 2.0 ** float(rng.normal(0.0, 0.22))
    vignette = _vignette(px, float(rng.uniform(0, 0.34)))
    pixels = pixels * (vignette * gain.astype(np.float32))
    haze = float(rng.gamma(1.0, 0.016))
    contrast = float(rng.normal(1.04, 0.1))
    pixels = (pixels - 0.42) * np.float32(contrast) + np.float32(0.42 + haze)
    gray = pixels.mean(axis=2, keepdims=True)
    pixels = gray + (pixels - gray) * np.float32(rng.normal(1.0, 0.11))
    grain = float(rng.gamma(2.0, 0.0065))
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(grain)
    pixels += rng.standard_normal((px, px, 1), dtype=np.float32) * np.float32(grain * 0.8)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def _vignette(px: int, strength: float) -> NDArray[np.float32]:
    ramp = np.linspace(-1, 1, px, dtype=np.float32) ** 2
    fall: NDArray[np.float32] = 1 - np.float32(0.5 * strength) * (ramp[:, None] + ramp[None, :])
    return fall[..., None]


def jpeg_bytes(image: Image.Image, quality: int, description: str, orientation: int = 1) -> bytes:
    """`image` as a JPEG that says in its comment and EXIF description what it is."""
    exif = Image.Exif()
    exif[0x010E] = description
    exif[0x0131] = "featherlite sample"
    exif[0x8298] = "CC0-1.0"
    if orientation != 1:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=exif, comment=description.encode())
    return buffer.getvalue()
