"""What a bird stands on: branch, feeder, post, ground, rock or reeds."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from featherlite.data.sample.camera import Light
from featherlite.data.sample.leaves import BARK, draw_sprig, leaf_color, lit
from featherlite.data.sample.pose import Pose
from featherlite.data.sample.shapes import Color, Points, blend, ellipse, fill, ribbon, shade, shifted, spline, stroke

WOOD: tuple[Color, ...] = ((148, 112, 74), (126, 116, 104), (168, 134, 92), (102, 82, 64))


def draw_perch(image: Image.Image, kind: str, pose: Pose, season: str, light: Light, rng: np.random.Generator) -> None:
    """Draw in place what carries the bird's feet."""
    if kind == "feeder":
        _feeder(image, pose, light, rng)
    elif kind == "post":
        _post(image, pose, light, rng)
    elif kind == "ground":
        _ground(image, pose, season, light, rng)
    elif kind == "rock":
        _rock(image, pose, light, rng)
    elif kind == "reed":
        _reeds(image, pose, season, light, rng)
    else:
        _branch(image, pose, season, light, rng)


def rod(image: Image.Image, line: Points, widths: Points | float, color: Color, light: Light) -> None:
    """A round stick along `line` (n, 2), shaded across, in place."""
    width = np.broadcast_to(np.asarray(widths, dtype=np.float64), (len(line),))
    along = line[-1] - line[0]
    normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    towards = normal[0] * light.x + normal[1] * light.y
    fill(image, ribbon(line, width), lit(color, light, -0.75))
    for offset, share in ((0.1, 0.76), (0.2, 0.5), (0.28, 0.22)):
        side = 1 if towards > 0 else -1
        moved = line + normal * (side * offset * width)[:, None]
        fill(image, ribbon(moved, share * width), lit(color, light, -0.5 + 4.2 * offset * abs(towards)))


def _branch(image: Image.Image, pose: Pose, season: str, light: Light, rng: np.random.Generator) -> None:
    size, u = image.width, pose.unit
    foot = pose.feet.mean(0)
    width = u * float(rng.choice([0.07, 0.1, 0.15, 0.24])) * float(rng.uniform(0.8, 1.2))
    slope = math.tan(math.radians(float(rng.normal(0, 15))))
    bark = shade(BARK[int(rng.integers(len(BARK)))], float(rng.uniform(0.8, 1.2)))
    xs = np.array([-0.15 * size, 0.5 * (foot[0] - 0.15 * size), foot[0], 0.5 * (foot[0] + 1.15 * size), 1.15 * size])
    sag = np.array([rng.normal(0, 0.05), rng.normal(0, 0.015), 0, rng.normal(0, 0.015), rng.normal(0, 0.05)]) * size
    line = spline(
        np.stack([xs, foot[1] + 0.42 * width + slope * (xs - foot[0]) + sag], axis=1), closed=False, samples=7
    )
    taper = np.linspace(1.25, 0.75, len(line)) * width
    if rng.random() < 0.5:
        taper = taper[::-1]
    sprigs = int(rng.integers(0, 7)) if season != "winter" else int(rng.integers(0, 3))
    for _ in range(sprigs):
        start = line[int(rng.integers(len(line)))]
        if abs(start[0] - foot[0]) < 0.2 * u and rng.random() < 0.6:
            continue
        draw_sprig(image, start, u, season, light, bark, rng)
    rod(image, line, taper, bark, light)
    for _ in range(int(width / 2)):
        at = line[int(rng.integers(2, len(line) - 2))] + (0, float(rng.uniform(-0.35, 0.4)) * width)
        run = float(rng.uniform(0.3, 1.0)) * width
        tone = lit(shade(bark, float(rng.choice([0.55, 1.25]))), light, -0.2)
        stroke(image, np.stack([at, shifted(at, run, slope * run)]), tone, 1.6)
    if season == "winter" and rng.random() < 0.6:
        fill(image, ribbon(line - (0, 0.42 * width), 0.4 * taper), (232, 236, 242), 1.2)
    spot = ellipse(shifted(foot, 0, 0.1 * width), 0.14 * u, 0.3 * width)
    fill(image, spot, shade(bark, 0.4), 0.03 * u, 0.5)


def _feeder(image: Image.Image, pose: Pose, light: Light, rng: np.random.Generator) -> None:
    u, foot = pose.unit, pose.feet.mean(0)
    wood = shade(WOOD[int(rng.integers(len(WOOD)))], float(rng.uniform(0.85, 1.15)))
    if rng.random() < 0.5:
        left, right = foot[0] - u * float(rng.uniform(0.5, 1.2)), foot[0] + u * float(rng.uniform(0.5, 1.2))
        thick = 0.09 * u
        for x in (left + 0.06 * u, right - 0.06 * u):
            rod(image, np.array([[x, -5.0], [x, foot[1]]]), 0.05 * u, wood, light)
        top, low = foot[1] - 0.02 * u, foot[1] + 0.09 * u
        board = np.array([[left, top], [right, top], [right + 0.05 * u, low], [left - 0.05 * u, low]])
        fill(image, board, lit(wood, light, 0.6))
        for _ in range(26):
            x, y = rng.uniform(left, right), rng.uniform(top + 0.01 * u, low)
            seed: Color = ((58, 48, 40), (196, 160, 98), (222, 200, 150))[int(rng.integers(3))]
            fill(image, ellipse((x, y), 0.018 * u, 0.011 * u, 8), seed)
        front = np.array(
            [
                [left - 0.05 * u, low],
                [right + 0.05 * u, low],
                [right + 0.05 * u, low + thick],
                [left - 0.05 * u, low + thick],
            ]
        )
        fill(image, front, lit(wood, light, -0.35))
        return
    side = pose.facing * float(rng.uniform(0.42, 0.62)) * u
    x, radius = foot[0] + side + pose.facing * 0.2 * u, 0.2 * u
    tint: Color = ((188, 198, 196), (150, 168, 140), (196, 178, 150))[int(rng.integers(3))]
    tube = np.array([[x, foot[1] - 1.3 * u], [x, foot[1] + 0.5 * u]])
    rod(image, tube, 2 * radius, blend(tint, (176, 140, 84), 0.55), light)
    for _ in range(60):
        at = (x + float(rng.uniform(-0.85, 0.85)) * radius, foot[1] + float(rng.uniform(-1.0, 0.45)) * u)
        grain: Color = ((74, 60, 46), (206, 172, 108), (160, 122, 70))[int(rng.integers(3))]
        fill(image, ellipse(at, 0.02 * u, 0.013 * u, 6), grain)
    metal: Color = ((92, 98, 94), (60, 92, 66), (120, 62, 50))[int(rng.integers(3))]
    for y, high in ((foot[1] + 0.5 * u, 0.13), (foot[1] - 1.36 * u, 0.16)):
        rod(image, np.array([[x - 1.25 * radius, y], [x + 1.25 * radius, y]]), high * u, metal, light)
    end = foot[0] - pose.facing * 0.22 * u
    rod(image, np.array([[end, foot[1] + 0.02 * u], [x, foot[1] + 0.02 * u]]), 0.045 * u, metal, light)
    stroke(image, np.array([[x, -5.0], [x, foot[1] - 1.4 * u]]), (70, 70, 68), 0.02 * u)


def _post(image: Image.Image, pose: Pose, light: Light, rng: np.random.Generator) -> None:
    size, u = image.width, pose.unit
    foot = pose.feet.mean(0)
    wood = shade(WOOD[int(rng.integers(len(WOOD)))], float(rng.uniform(0.75, 1.15)))
    half, top = u * float(rng.uniform(0.17, 0.34)), foot[1] - 0.01 * u
    if rng.random() < 0.45:
        beam = u * float(rng.uniform(0.14, 0.24))
        middle = top + 0.5 * beam
        rod(
            image,
            np.array([[-9.0, middle], [size + 9.0, middle + float(rng.normal(0, 0.03)) * size]]),
            beam,
            wood,
            light,
        )
    column = np.array([[foot[0], top + 0.05 * u], [foot[0] + float(rng.normal(0, 0.05)) * u, size + 9.0]])
    rod(image, column, 2 * half, wood, light)
    for _ in range(int(rng.integers(5, 12))):
        x = foot[0] + float(rng.uniform(-0.9, 0.9)) * half
        start = top + float(rng.uniform(0.08, 0.9)) * u
        crack = np.array([[x, start], [x + float(rng.normal(0, 2)), start + float(rng.uniform(0.1, 0.6)) * u]])
        stroke(image, crack, lit(shade(wood, 0.5), light, -0.3), 1.8)
    fill(image, ellipse((foot[0], top + 0.045 * u), half, 0.07 * u), lit(shade(wood, 1.1), light, 0.55))
    fill(image, ellipse(shifted(foot, 0, 0.03 * u), 0.16 * u, 0.035 * u), shade(wood, 0.45), 0.02 * u, 0.5)


def _ground(image: Image.Image, pose: Pose, season: str, light: Light, rng: np.random.Generator) -> None:
    """Soil, litter or short grass under the feet, sharp where the bird stands."""
    size, u = image.width, pose.unit
    foot = pose.feet.mean(0)
    soil: Color = ((112, 94, 70), (138, 124, 100), (96, 110, 60), (214, 218, 224))[
        3 if season == "winter" else int(rng.integers(3))
    ]
    near = [
        (-20, foot[1] - 0.1 * u),
        (size / 2, foot[1] - 0.12 * u),
        (size + 20, foot[1] - 0.1 * u),
        (size + 20, size + 20),
        (-20, size + 20),
    ]
    fill(image, np.array(near), lit(soil, light, 0.3), 0.12 * u)
    for _ in range(90):
        y = foot[1] + float(rng.uniform(-0.1, 0.75)) * u
        x, near_by = float(rng.uniform(0, size)), (y - foot[1]) / u + 0.4
        tone = lit(
            blend(soil, leaf_color(season, rng), float(rng.uniform(0.1, 0.8))),
            light,
            float(rng.uniform(-0.5, 0.6)),
        )
        fill(image, ellipse((x, y), u * 0.05 * near_by, u * 0.022 * near_by, 7), tone)
    fill(
        image,
        ellipse(shifted(foot, -0.12 * light.x * u, 0.03 * u), 0.42 * u, 0.06 * u),
        shade(soil, 0.35),
        0.04 * u,
        0.6,
    )


def _rock(image: Image.Image, pose: Pose, light: Light, rng: np.random.Generator) -> None:
    u, foot = pose.unit, pose.feet.mean(0)
    stone: Color = shade((134, 130, 124), float(rng.uniform(0.7, 1.2)))
    wide = u * float(rng.uniform(0.6, 1.2))
    rim = [(-1, 0.75), (-0.85, 0.3), (-0.5, 0.06), (0, 0.0), (0.45, 0.03), (0.8, 0.28), (1, 0.8), (0, 1.3)]
    jitter = rng.normal(0, 0.04, (8, 2)) * (1, 0.6)
    jitter[3] = 0
    outline = spline((np.array(rim) + jitter) * (wide, 0.75 * u) + foot, samples=4)
    fill(image, outline, lit(stone, light, -0.45), 1.0)
    fill(
        image,
        outline * (0.9, 0.5) + foot * (0.1, 0.5) + (light.x * 0.05 * u, 0.01 * u),
        lit(stone, light, 0.8),
        0.09 * u,
    )
    for _ in range(46):
        at = shifted(foot, float(np.clip(rng.normal(0, 0.36), -0.8, 0.8)) * wide, float(rng.uniform(0.08, 0.6)) * u)
        tone = shade(stone, float(rng.uniform(0.6, 1.35)))
        wide_spot, high_spot = rng.uniform(0.01, 0.06, 2) * u
        fill(image, ellipse(at, wide_spot, 0.5 * high_spot, 7), lit(tone, light, 0.1), 1.5, 0.5)
    fill(image, ellipse(shifted(foot, 0, 0.03 * u), 0.17 * u, 0.03 * u), shade(stone, 0.4), 0.02 * u, 0.55)


def _reeds(image: Image.Image, pose: Pose, season: str, light: Light, rng: np.random.Generator) -> None:
    """Slanting stems, one of them under the bird's feet."""
    size, u = image.width, pose.unit
    straw: Color = (176, 156, 96) if season in ("autumn", "winter") else (124, 140, 70)
    for _ in range(int(rng.integers(4, 11))):
        x, lean = float(rng.uniform(0, size)), float(rng.normal(0, 0.15)) * size
        line = np.array([[x, size + 5.0], [x + lean, float(rng.uniform(-0.1, 0.5)) * size]])
        rod(image, line, u * float(rng.uniform(0.02, 0.05)), shade(straw, float(rng.uniform(0.7, 1.2))), light)
    foot = pose.feet.mean(0)
    way = np.array([1.0, float(rng.choice([-1, 1])) * float(rng.uniform(0.25, 0.6))])
    line = spline([foot - way * size, shifted(foot, 0, 0.02 * u), foot + way * size], closed=False, samples=8)
    rod(image, line, 0.07 * u, straw, light)
