"""Poses: how a bird stands, where it stands in the picture, and the frames of its body and head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from featherlite.data.sample.shapes import Frame, Points, rotation
from featherlite.data.sample.species import Species


@dataclass(frozen=True, slots=True)
class Pose:
    """One bird's skeleton on the canvas: frames in pixels and what its parts do."""

    unit: float
    facing: int
    pitch: float
    body: Frame
    head: Frame
    skull: Frame
    head_px: float
    thighs: Points
    feet: Points
    wing_open: float
    tail_angle: float
    gape: float
    plump: float
    looks_back: bool


def draw_pose(species: Species, canvas_px: int, grounded: bool, rng: np.random.Generator) -> Pose:
    """A random natural pose of `species` on a canvas of `canvas_px` square pixels."""
    unit = canvas_px * float(np.clip(rng.lognormal(math.log(0.44), 0.17), 0.28, 0.58)) * species.size**0.6
    facing = 1 if rng.random() < 0.5 else -1
    mood = rng.choice(["alert", "lean", "feed", "back", "plain"], p=[0.23, 0.17, 0.15, 0.07, 0.38])
    pitch = species.stance + float(rng.normal(0, 6))
    head_pitch, dip, turn = float(rng.normal(2, 8)), float(rng.normal(0, 7)), float(rng.uniform(0.8, 1.0))
    if mood == "alert":
        pitch, dip, head_pitch = pitch + float(rng.uniform(8, 22)), dip - 4, head_pitch + 5
    elif mood == "lean":
        pitch, dip = pitch - float(rng.uniform(16, 30)), dip - 8
    elif mood == "feed":
        pitch, dip = pitch - float(rng.uniform(22, 42)), dip - float(rng.uniform(20, 45))
        head_pitch = -float(rng.uniform(25, 58))
    elif mood == "back":
        turn = -float(rng.uniform(0.7, 1.0))
    pitch = float(np.clip(pitch, -28, 66))
    yaw = math.cos(math.radians(float(rng.triangular(0, 8, 52))))
    plump = species.plump * float(np.clip(rng.normal(1.0, 0.07), 0.88, 1.2))
    flip = np.diag([facing * yaw, 1.0])
    turned = flip @ rotation(pitch) * unit
    neck = np.array([0.27, 0.07]) + rotation(dip - 0.35 * pitch) @ np.array([0.15, 0.185])
    head_px = species.head * unit * float(rng.normal(1.0, 0.025))
    thighs = np.array([[-0.1, -0.21], [0.02, -0.235]]) * (1, plump) - (0.0025 * pitch, 0.0)
    leg = species.leg_length * unit * float(rng.uniform(0.55, 1.0) if not grounded else rng.uniform(0.8, 1.05))
    center = _center(canvas_px, unit, facing, rng)
    body = Frame(turned, center)
    hips = body(thighs)
    feet = hips + np.array([[facing * float(rng.normal(0.02, 0.04)) * unit, leg]])
    feet[:, 0] += np.array([-0.03, 0.03]) * unit * facing
    feet[:, 1] = feet[:, 1].mean()
    head_at = body(neck)
    return Pose(
        unit=unit,
        facing=facing,
        pitch=pitch,
        body=body,
        head=Frame(np.diag([facing * turn, 1.0]) @ rotation(head_pitch) * head_px, head_at),
        skull=Frame(np.diag([facing * 1.0, 1.0]) @ rotation(0.5 * head_pitch) * head_px, head_at),
        head_px=head_px,
        thighs=hips,
        feet=feet,
        wing_open=float(rng.uniform(0.25, 1.0)) if rng.random() < 0.12 else 0.0,
        tail_angle=species.tail_lift + float(rng.normal(-3, 7)) - 0.18 * pitch,
        gape=float(rng.uniform(8, 22)) if rng.random() < 0.1 else 0.0,
        plump=plump,
        looks_back=turn < 0,
    )


def _center(canvas_px: int, unit: float, facing: int, rng: np.random.Generator) -> Points:
    """Where the body's middle lies: mostly whole in the picture, now and then cut by its edge."""
    reach = 0.5 * canvas_px - 0.62 * unit
    spread = max(0.04 * canvas_px, reach)
    x = 0.5 * canvas_px - facing * 0.06 * unit + float(rng.uniform(-0.9, 0.9)) * spread
    y = 0.5 * canvas_px + float(rng.uniform(-0.5, 0.42)) * max(0.1 * canvas_px, 0.5 * canvas_px - 0.5 * unit)
    if rng.random() < 0.06:
        edge = rng.choice([-1, 1])
        x = 0.5 * canvas_px + edge * (0.5 * canvas_px - float(rng.uniform(0.15, 0.4)) * unit)
    return np.array([x, y])
