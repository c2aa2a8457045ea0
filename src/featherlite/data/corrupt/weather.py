"""Weather: fog, rain and snow, which training may use; frost, which it may not."""

from __future__ import annotations

import numpy as np

from featherlite.data.corrupt import corruption
from featherlite.data.corrupt._fields import clouds, convolve, coordinates, disc, line, scattered, short_side
from featherlite.data.corrupt._light import Floats

__all__ = ["fog", "frost", "rain", "snow"]

AIRLIGHT = np.array([0.70, 0.73, 0.76], np.float32)
"""The light that fog and falling water scatter towards the camera: a bright overcast sky, a trace of blue."""


@corruption(family="train", kind="weather", thickness=(0.12, 0.25, 0.45, 0.75, 1.15))
def fog(scene: Floats, rng: np.random.Generator, *, thickness: float) -> Floats:
    """Fog: what is far fades into bright gray, in drifting patches.

    A photo tells no distances: they are taken to grow from the lower edge to the upper one. `thickness` is the optical
    depth at the middle of the photo.

    Source: H. Koschmieder (1924) as in S. G. Narasimhan, S. K. Nayar, "Vision and the Atmosphere", IJCV 48 (2002),
    equation 2: E = scene exp(-beta d) + airlight (1 - exp(-beta d)).
    """
    rows, _ = coordinates(scene.shape)
    distance = 1.35 - 0.7 * rows / scene.shape[0]
    patches = np.exp(0.22 * clouds(rng, scene.shape))
    passed = np.exp(-thickness * distance * patches)[..., None]
    return np.asarray(scene * passed + AIRLIGHT * (1 - passed), np.float32)


@corruption(
    family="train",
    kind="weather",
    streaks=(60, 130, 230, 380, 600),
    opacity=(0.5, 0.57, 0.64, 0.71, 0.78),
    mist=(0.02, 0.05, 0.09, 0.14, 0.20),
)
def rain(scene: Floats, rng: np.random.Generator, *, streaks: float, opacity: float, mist: float) -> Floats:
    """Rain: slanting streaks, long near and short far ones, under a darker sky and behind a veil of mist.

    Source: K. Garg, S. K. Nayar, "Vision and Rain", IJCV 75 (2007): a moving drop shows as a streak that mixes the
    background with the bright light of the whole sky; far drops merge into mist, as fog does.
    """
    short = short_side(scene)
    angle = np.pi / 2 + rng.uniform(-0.35, 0.35)
    far = convolve(scattered(rng, scene.shape, streaks), line(0.07 * short, angle, 0.0035 * short))
    near = convolve(scattered(rng, scene.shape, 0.12 * streaks), line(0.22 * short, angle + 0.05, 0.006 * short))
    covered = np.clip(opacity * (far + 0.6 * near), 0, 0.9)[..., None]
    dull = (1 - 1.2 * mist) * scene
    veiled = dull * (1 - mist) + mist * 0.55 * AIRLIGHT
    return np.asarray(veiled * (1 - covered) + 0.75 * AIRLIGHT * covered, np.float32)


@corruption(
    family="train",
    kind="weather",
    flakes=(50, 100, 170, 270, 400),
    veil=(0.04, 0.09, 0.15, 0.23, 0.32),
)
def snow(scene: Floats, rng: np.random.Generator, *, flakes: float, veil: float) -> Floats:
    """Snowfall: white flakes, the near ones large and out of focus, before a scene that turns pale.

    Source: the layers by distance follow Hendrycks and Dietterich (arXiv:1903.12261); the veil is that of `fog`.
    """
    short = short_side(scene)
    angle = np.pi / 2 + rng.uniform(-0.7, 0.7)
    covered = np.zeros(scene.shape[:2], np.float32)
    for share, radius, trail, opacity in ((1.0, 0.006, 0.012, 0.9), (0.3, 0.011, 0.02, 0.85), (0.04, 0.024, 0.03, 0.6)):
        flake = disc(radius * short)
        moved = line(trail * short, angle)
        falling = convolve(scattered(rng, scene.shape, share * flakes), flake, moved / moved.max(initial=1e-6))
        covered = 1 - (1 - covered) * (1 - opacity * np.clip(falling, 0, 1))
    pale = scene * (1 - veil) + veil * AIRLIGHT
    white = np.float32(0.92)
    return np.asarray(pale * (1 - covered[..., None]) + white * covered[..., None], np.float32)


@corruption(family="held_out", kind="weather", reach=(0.18, 0.32, 0.46, 0.62, 0.8), cover=(0.5, 0.6, 0.7, 0.8, 0.88))
def frost(scene: Floats, rng: np.random.Generator, *, reach: float, cover: float) -> Floats:
    """Frost on the glass: feathery ice that grows in from the edges and scatters what is behind it.

    Ice grows along ridges: those of the noise are the lines on which it crosses zero, as in F. K. Musgrave's ridged
    multifractals ("Texturing and Modeling", 1994).
    """
    rows, columns = coordinates(scene.shape)
    short = short_side(scene)
    height, width = scene.shape[:2]
    inwards = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns)) / (short / 2)
    feathers = np.zeros(scene.shape[:2], np.float32)
    for cells, weight in ((4, 0.4), (10, 0.35), (24, 0.25)):
        feathers += weight * np.exp(-2.5 * np.abs(clouds(rng, scene.shape, cells, 1)))
    growth = np.clip((reach - inwards + 0.9 * (feathers - 0.35)) / 0.35, 0, 1)
    ice = growth * (0.35 + 0.65 * np.clip(1.8 * feathers, 0, 1))
    blur = disc(max(0.025 * short, 0.7))
    behind = convolve(scene, blur / blur.sum())
    glass = scene + (behind - scene) * np.clip(growth * 1.5, 0, 1)[..., None]
    covered = (cover * ice)[..., None]
    return np.asarray(glass * (1 - covered) + np.array([0.74, 0.80, 0.86], np.float32) * covered, np.float32)
