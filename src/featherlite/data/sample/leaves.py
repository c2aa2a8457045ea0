"""Leaves, twigs and grass: around the perch, and out of focus in front of the bird."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from featherlite.data.sample.camera import Light
from featherlite.data.sample.pose import Pose
from featherlite.data.sample.scene import SEASONS
from featherlite.data.sample.shapes import Color, Points, blend, fill, ribbon, shade, spline, stroke

BARK: tuple[Color, ...] = ((92, 76, 62), (122, 106, 90), (70, 60, 54), (138, 128, 116), (104, 84, 58))


def lit(color: Color, light: Light, facing: float) -> Color:
    """`color` on a surface turned towards the light by `facing` in [-1, 1]."""
    return shade(color, light.ambient + light.key * (0.5 + 0.5 * facing))


def leaf_halves(base: Points, degrees: float, length: float) -> tuple[Points, Points, Points]:
    """The outline of a leaf, the outline of one half of it, and the direction in which that half lies."""
    axis = np.array([math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))])
    side = np.array([-axis[1], axis[0]])
    tip = base + axis * length
    rim = [base + length * (axis * a + side * b) for a, b in ((0.25, 0.17), (0.55, 0.2), (0.82, 0.1))]
    far = [base + length * (axis * a - side * b) for a, b in ((0.82, 0.1), (0.55, 0.2), (0.25, 0.17))]
    whole = spline(np.array([base, *rim, tip, *far]), samples=3)
    return whole, spline(np.array([base, *rim, tip]), closed=False, samples=3), side


def leaf(image: Image.Image, base: Points, degrees: float, length: float, color: Color, light: Light) -> None:
    """A leaf with a lit and a shaded half and its midrib, in place."""
    whole, half, side = leaf_halves(base, degrees, length)
    towards = float(side[0] * light.x + side[1] * light.y)
    fill(image, whole, lit(color, light, -0.35 * towards))
    fill(image, half, lit(color, light, 0.45 * towards))
    stroke(
        image,
        np.stack([half[0], half[-1]]),
        lit(blend(color, (230, 230, 190), 0.3), light, 0.3),
        0.04 * length,
    )


def leaf_color(season: str, rng: np.random.Generator) -> Color:
    """A random leaf color of the season."""
    colors = SEASONS[season]
    return shade(colors[int(rng.integers(min(4, len(colors))))], float(rng.uniform(0.85, 1.35)))


def draw_sprig(
    image: Image.Image,
    start: Points,
    u: float,
    season: str,
    light: Light,
    bark: Color,
    rng: np.random.Generator,
) -> None:
    """A twig with leaves, buds or berries."""
    angle = float(rng.uniform(20, 160)) * (1 if rng.random() < 0.72 else -1)
    reach = u * float(rng.uniform(0.2, 0.75))
    way = np.array([math.cos(math.radians(angle)), -math.sin(math.radians(angle))])
    bend = np.array([-way[1], way[0]]) * reach * float(rng.normal(0, 0.15))
    line = spline([start, start + way * 0.5 * reach + bend, start + way * reach], closed=False, samples=4)
    stroke(image, line, lit(bark, light, 0.0), 0.022 * u)
    if season == "winter":
        return
    color = leaf_color(season, rng)
    for at in line[1:]:
        if rng.random() < 0.7:
            turn = angle + float(rng.choice([-1, 1])) * float(rng.uniform(20, 70))
            leaf(
                image,
                at,
                turn,
                u * float(rng.uniform(0.1, 0.24)),
                shade(color, float(rng.uniform(0.8, 1.2))),
                light,
            )


def draw_cover(image: Image.Image, pose: Pose, season: str, light: Light, rng: np.random.Generator) -> Image.Image:
    """The picture with leaves and twigs out of focus in front of the bird."""
    size, u = image.width // 2, pose.unit / 2
    layer, mask = Image.new("RGB", (size, size), leaf_color(season, rng)), Image.new("L", (size, size), 0)
    center = pose.body.origin / 2
    for _ in range(int(rng.integers(1, 4))):
        spread = rng.normal(0, 0.55, 2) * u
        base = center + spread + np.sign(spread + 1e-9) * 0.25 * u
        twig = spline(
            [base, base + rng.normal(0, 0.4, 2) * u, base + rng.normal(0, 0.9, 2) * u],
            closed=False,
            samples=4,
        )
        stroke(layer, twig, BARK[int(rng.integers(len(BARK)))], 0.05 * u)
        stroke(mask, twig, 255, 0.05 * u)
        if season == "winter":
            continue
        color = leaf_color(season, rng)
        for at in twig[::2]:
            turn, length = float(rng.uniform(0, 360)), u * float(rng.uniform(0.16, 0.4))
            leaf(layer, at, turn, length, shade(color, float(rng.uniform(0.8, 1.2))), light)
            fill(mask, leaf_halves(at, turn, length)[0], 255)
    blur = float(rng.uniform(0.6, 3.0)) * image.width / 320
    mask = mask.filter(ImageFilter.GaussianBlur(blur)).resize(image.size, Image.Resampling.BILINEAR)
    layer = layer.filter(ImageFilter.GaussianBlur(0.6 * blur)).resize(image.size, Image.Resampling.BILINEAR)
    return Image.composite(layer, image, mask)


def draw_blades(image: Image.Image, pose: Pose, season: str, light: Light, rng: np.random.Generator) -> None:
    """Grass blades in front of the feet, in place."""
    u, foot = pose.unit, pose.feet.mean(0)
    for _ in range(int(rng.integers(4, 26))):
        x = foot[0] + float(rng.normal(0, 0.8)) * u
        y, high = foot[1] + float(rng.uniform(0.05, 0.3)) * u, u * float(rng.uniform(0.15, 0.5))
        lean = float(rng.normal(0, 0.3)) * high
        line = spline([(x, y), (x + 0.3 * lean, y - 0.6 * high), (x + lean, y - high)], closed=False, samples=3)
        blade = ribbon(line, np.linspace(0.035, 0.006, len(line)) * u)
        fill(image, blade, lit(leaf_color(season, rng), light, float(rng.uniform(-0.4, 0.5))))
