"""Feathers that lie in rows: the folded or lifted wing, the far wing and the tail."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from featherlite.data.sample.plumage import Palette
from featherlite.data.sample.pose import Pose
from featherlite.data.sample.shapes import (
    Color,
    Frame,
    Points,
    blend,
    ellipse,
    fill,
    rotation,
    shade,
    shifted,
    spline,
    stroke,
)
from featherlite.data.sample.species import Species

SHOULDER = np.array([0.27, 0.06])
TAIL_ROOT = np.array([-0.46, 0.02])


def _feather(root: Points, tip: Points, width: float) -> Points:
    """The outline of one feather, blunt at the tip, in the frame of its ends."""
    along = tip - root
    side = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * width
    return spline(
        [root + 0.5 * side, root + 0.5 * along + side, root + 0.88 * along + 0.8 * side, tip,
         root + 0.9 * along - 0.7 * side, root + 0.5 * along - side, root - 0.5 * side], samples=3
    )  # fmt: skip


def _lifted(body: Frame, degrees: float) -> Frame:
    """The body's frame turned about the shoulder."""
    turn = rotation(degrees)
    return Frame(body.matrix @ turn, body(SHOULDER - turn @ SHOULDER))


def paint_wing(
    image: Image.Image, cover: Image.Image, relief: Image.Image, pose: Pose, species: Species, colors: Palette
) -> None:
    """Paint the near wing in place, row over row from the primaries to the scapulars."""
    u = pose.unit
    to = _lifted(pose.body, -28 * pose.wing_open) if pose.wing_open else pose.body
    spread = 1.0 + 0.9 * pose.wing_open
    blade = [
        (0.3, 0.1),
        (0.08, 0.15),
        (-0.3, 0.11),
        (-0.7, 0.0),
        (-0.42, -0.07),
        (-0.1, -0.125),
        (0.18, -0.105),
    ]
    under = shifted(to(spline(blade)), 0.0, 0.02 * u)
    fill(image, under, shade(colors.flank, 0.5), 0.022 * u, 0.55)
    for i in range(7):
        tip = np.array([-0.72 + 0.055 * i, 0.015 - 0.018 * i * spread])
        root = np.array([0.04 - 0.015 * i, 0.02 - 0.014 * i])
        _row_feather(image, cover, to, root, tip, 0.03, shade(colors.wing, 0.84 + 0.05 * (i % 2)), colors.edge, u)
    for i in range(6):
        tip = np.array([-0.47 + 0.07 * i, -0.08 - 0.0085 * i * spread + 0.006 * i])
        root = np.array([0.1 + 0.01 * i, 0.0])
        tone = colors.extra.get("panel", shade(colors.wing, 1.0 + 0.06 * (i % 2)))
        _row_feather(image, cover, to, root, tip, 0.034, tone, blend(tone, colors.edge, 0.8), u)
    for i in range(3):
        tip = np.array([-0.4 + 0.12 * i, 0.06 - 0.03 * i])
        tone = blend(shade(colors.wing, 1.08), colors.extra.get("panel", colors.wing), 0.6)
        _row_feather(image, cover, to, np.array([0.16, 0.06]), tip, 0.042, tone, colors.edge, u)
    fill(relief, to(spline(blade)), 255)
    _coverts(image, to, species, colors, u)


def _row_feather(
    image: Image.Image,
    cover: Image.Image,
    to: Frame,
    root: Points,
    tip: Points,
    width: float,
    color: Color,
    edge: Color,
    unit: float,
) -> None:
    outline = to(_feather(root, tip, width))
    fill(image, outline, color)
    fill(cover, outline, 255)
    rim = len(outline) // 7
    stroke(image, outline[4 * rim : 6 * rim + 1], blend(color, edge, 0.9), 0.011 * unit)


def _coverts(image: Image.Image, to: Frame, species: Species, colors: Palette, unit: float) -> None:
    """Greater and median coverts, tipped with the wing bars where the species has them, then the scapulars."""
    dark = blend(colors.coverts, colors.wing, 0.45)
    rows = (
        (9, np.array([-0.2, 0.055]), np.array([0.2, -0.115]), 0.075, dark, species.bars >= 1),
        (
            7,
            np.array([-0.06, 0.09]),
            np.array([0.24, -0.085]),
            0.055,
            blend(colors.coverts, colors.wing, 0.2),
            species.bars >= 2,
        ),
    )
    for count, start, end, length, color, barred in rows:
        slant = math.degrees(math.atan2(*(end - start)[::-1]))
        for i in range(count):
            tip = start + (end - start) * i / (count - 1)
            root = tip + np.array([1.5 * length, 0.35 * length])
            fill(image, to(_feather(root, tip, 0.3 * length)), shade(color, 0.92 + 0.08 * (i % 2)))
            if barred:
                fill(image, to(ellipse(shifted(tip, 0.014, 0.004), 0.036, 0.022, 10, slant)), colors.bar)
            else:
                stroke(
                    image,
                    to([shifted(tip, 0.02, 0.018), tip, shifted(tip, 0.02, -0.018)]),
                    blend(color, colors.edge, 0.4),
                    0.007 * unit,
                )
    cape = [(0.33, 0.1), (0.1, 0.2), (-0.18, 0.15), (-0.05, 0.07), (0.12, 0.04), (0.24, -0.04), (0.31, -0.02)]
    fill(image, to(spline(cape)), colors.coverts, 0.02 * unit)


def paint_far_wing(image: Image.Image, cover: Image.Image, pose: Pose, colors: Palette) -> None:
    """Paint the lifted wing on the bird's far side in place, before its body."""
    to = _lifted(pose.body, -46 * pose.wing_open)
    for i in range(10):
        root = shifted(SHOULDER, -0.14 + 0.012 * i, 0.02)
        tip = SHOULDER + rotation(178 - 7.5 * i) @ np.array([0.86 - 0.028 * i, 0.0])
        color = shade(colors.wing, 0.78 + 0.06 * (i % 2))
        _row_feather(image, cover, to, root, tip, 0.062, color, colors.edge, pose.unit)
    arm = to(spline([(0.3, 0.0), (0.26, 0.32), (0.05, 0.38), (-0.2, 0.22), (-0.25, 0.06)]))
    fill(image, arm, blend(colors.coverts, colors.wing, 0.4), 0.02 * pose.unit)


def paint_tail(image: Image.Image, cover: Image.Image, pose: Pose, species: Species, colors: Palette) -> None:
    """Paint the tail in place: a narrow fan of feathers from the rump."""
    base = TAIL_ROOT
    fan = 2.6 if not pose.wing_open else 6.0
    for i in (-3, 3, -2, 2, -1, 1, 0):
        reach = species.tail_length + 0.1
        if species.tail_shape == "forked":
            reach *= 0.78 + 0.075 * abs(i)
        elif species.tail_shape == "round":
            reach *= 1.0 - 0.035 * i * i * 0.5
        angle = 180 - pose.tail_angle + fan * i
        tip = base + rotation(angle) @ np.array([reach, 0.0])
        side = "tail_edge" in colors.extra and abs(i) == 3
        color = colors.extra["tail_edge"] if side else shade(colors.tail, 0.88 + 0.06 * (i % 2))
        outline = pose.body(_feather(base, tip, 0.042 if not pose.wing_open else 0.06))
        fill(image, outline, color)
        fill(cover, outline, 255)
        stroke(image, pose.body(np.stack([base, tip])), shade(color, 0.75), 0.006 * pose.unit)
    root = pose.body(ellipse(base + rotation(180 - pose.tail_angle) @ (0.06, 0.0), 0.14, 0.065, 16, -pose.tail_angle))
    fill(image, root, blend(colors.rump, colors.tail, 0.5), 0.02 * pose.unit)
