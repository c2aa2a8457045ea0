"""Light: too little, too much, flat, from the wrong side, of the wrong color."""

from __future__ import annotations

import numpy as np

from featherlite.data.corrupt import corruption
from featherlite.data.corrupt._fields import clouds, coordinates, short_side
from featherlite.data.corrupt._light import Floats
from featherlite.data.corrupt.sensor import with_noise

__all__ = ["color_cast", "contrast", "glare", "low_light", "overexposure", "shadow"]


@corruption(
    family="train",
    kind="light",
    exposure=(0.35, 0.2, 0.12, 0.07, 0.04),
    electrons=(700, 400, 230, 130, 70),
)
def low_light(scene: Floats, rng: np.random.Generator, *, exposure: float, electrons: float) -> Floats:
    """Low light: dusk, and the shot and read noise of a sensor that gets few photons.

    `exposure` is the share of light that is left, `electrons` what the sensor then collects on white.
    """
    noisy = with_noise(scene, rng, electrons, read=3.0)
    return np.asarray(noisy * exposure, np.float32)


@corruption(family="train", kind="light", stops=(0.5, 0.9, 1.3, 1.8, 2.3))
def overexposure(scene: Floats, rng: np.random.Generator, *, stops: float) -> Floats:  # noqa: ARG001
    """Overexposure by so many stops: light above the sensor's white is cut off, channel by channel."""
    return np.asarray(scene * 2.0**stops, np.float32)


@corruption(family="train", kind="light", linear=False, kept=(0.65, 0.48, 0.36, 0.26, 0.18))
def contrast(scene: Floats, rng: np.random.Generator, *, kept: float) -> Floats:  # noqa: ARG001
    """Flat contrast: every value drawn towards the photo's mean, of which distance the share `kept` is left.

    Source: the corruption 'contrast' of Hendrycks and Dietterich (arXiv:1903.12261), with strengths of our own.
    """
    mean = scene.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + kept * (scene - mean), np.float32)


@corruption(family="train", kind="light", strength=(0.25, 0.5, 0.85, 1.3, 1.9))
def glare(scene: Floats, rng: np.random.Generator, *, strength: float) -> Floats:
    """Glare: the sun at the edge of the frame, its halo, a row of ghosts, and a veil over all.

    Light that the lens scatters adds to the scene; it falls with the square of the distance from the source.

    Source: W. S. Stiles, J. Crawford (1937): veiling luminance = 10 E / angle^2, here with a core of finite size.
    """
    height, width = scene.shape[:2]
    short = short_side(scene)
    rows, columns = coordinates(scene.shape)
    turn = rng.uniform(0, 2 * np.pi)
    # Always in the upper part, where the sky is; at the rim of the frame.
    sun_y, sun_x = height * (0.22 - 0.2 * abs(np.sin(turn))), width * (0.5 + 0.45 * np.cos(turn))
    distance = np.hypot(rows - sun_y, columns - sun_x) / short
    veil = 0.10 + 0.9 / (1 + (distance / 0.16) ** 2)
    light = veil[..., None] * np.array([1.0, 0.93, 0.80], np.float32)
    tints = np.array([[0.9, 0.5, 0.3], [0.4, 0.8, 0.5], [0.4, 0.5, 0.9]], np.float32)
    for along, radius, tint in zip((0.55, 1.25, 1.6), (0.05, 0.09, 0.04), tints, strict=True):
        center_y, center_x = sun_y + along * (height / 2 - sun_y), sun_x + along * (width / 2 - sun_x)
        away = np.hypot(rows - center_y, columns - center_x) / short
        light = light + (0.16 * np.clip((radius - away) / 0.012 + 0.5, 0, 1))[..., None] * tint
    return np.asarray(scene + strength * light, np.float32)


@corruption(family="held_out", kind="light", left=(0.5, 0.35, 0.24, 0.16, 0.1))
def shadow(scene: Floats, rng: np.random.Generator, *, left: float) -> Floats:
    """Dappled shadow of leaves: patches that only the blue light of the sky reaches.

    `left` is the share of light in the shade. Some two thirds of the photo lie in it, its rims are soft (penumbra).
    """
    pattern = clouds(rng, scene.shape, cells=5, octaves=4)
    shade = np.clip((pattern + 0.35) / 0.8 + 0.5, 0, 1)[..., None]
    sky = np.array([0.92, 1.0, 1.15], np.float32) * left
    return np.asarray(scene * (1 + shade * (sky - 1)), np.float32)


@corruption(family="held_out", kind="light", error=(0.12, 0.25, 0.4, 0.58, 0.8))
def color_cast(scene: Floats, rng: np.random.Generator, *, error: float) -> Floats:
    """Wrong white balance: the photo turns orange or blue, with a lean to green or magenta.

    Gains of a von Kries model in linear light: red and blue err in opposite directions by exp(error).

    Source: M. Afifi, M. S. Brown, "What Else Can Fool Deep Learning?" (ICCV 2019), on such errors in real cameras.
    """
    warm = 1.0 if rng.random() < 0.5 else -1.0
    lean = rng.uniform(-0.35, 0.35)
    gains = np.exp(error * np.array([warm, lean, -warm]))
    return np.asarray(scene * (gains / gains.mean()).astype(np.float32), np.float32)
