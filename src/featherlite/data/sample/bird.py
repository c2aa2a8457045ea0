"""A bird on a transparent layer: tail, legs, plumage, wing, head, and the light that makes it round."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from featherlite.data.sample.camera import Light
from featherlite.data.sample.head import paint_bill, paint_eye, paint_head
from featherlite.data.sample.plumage import Palette, paint_body
from featherlite.data.sample.pose import Pose
from featherlite.data.sample.shapes import (
    Color,
    Points,
    ellipse,
    fill,
    ribbon,
    rotation,
    scale_noise,
    shade,
    shifted,
    spline,
    streak_noise,
    stroke,
)
from featherlite.data.sample.species import Species
from featherlite.data.sample.wing import TAIL_ROOT, paint_far_wing, paint_tail, paint_wing


@dataclass(slots=True)
class Layer:
    """A color image with its cover (L), lying at `corner` of the big canvas."""

    image: Image.Image
    cover: Image.Image
    corner: tuple[int, int]


def outline(pose: Pose, rng: np.random.Generator) -> Points:
    """The silhouette (n, 2) of body, neck and head in canvas pixels, with a slightly ragged edge."""
    p = pose.plump
    skull = pose.skull([(0.86, 0.42), (0.28, 0.98), (-0.5, 0.86), (-0.98, 0.28)])
    upper = pose.body([(0.2, 0.27), (-0.03, 0.235), (-0.3, 0.15), (-0.5, 0.06), (-0.58, 0.0)])
    lower = pose.body(
        [
            (-0.55, -0.06),
            (-0.42, -0.13 * p),
            (-0.2, -0.24 * p),
            (0.04, -0.3 * p),
            (0.27, -0.245 * p),
            (0.42, -0.08),
        ]
    )
    chin = pose.skull([(0.45, -0.92), (0.9, -0.35)])
    curve = spline(np.concatenate([skull, upper, lower, chin]), samples=7)
    return curve + rng.normal(0, 0.0045 * pose.unit, curve.shape)


def draw_bird(species: Species, pose: Pose, light: Light, canvas_px: int, rng: np.random.Generator) -> Layer | None:
    """The bird in its pose and light, or None where nothing of it lies on the canvas."""
    edge = outline(pose, rng)
    far = np.concatenate([edge, _extremes(species, pose)])
    reach = (0.6 if pose.wing_open else 0.07) * pose.unit
    low = np.maximum(np.floor(far.min(0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(far.max(0) + reach), canvas_px).astype(int)
    if (high - low).min() < 8:
        return None
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    local = _moved(pose, low)
    edge = edge - low
    colors = Palette.of(species, rng)
    image = Image.new("RGB", size, colors.belly)
    cover = Image.new("L", size, 0)
    if local.wing_open:
        paint_far_wing(image, cover, local, colors)
    paint_tail(image, cover, local, species, colors)
    _legs(image, cover, local, colors)
    if not pose.looks_back:
        paint_bill(image, cover, local, species, colors)
    body = Image.new("RGB", size, colors.belly)
    shape = Image.new("L", size, 0)
    fill(shape, edge, 255)
    fill(shape, local.skull(ellipse((0, 0), 0.98, 0.97)), 255)
    nape = 0.55 * local.skull.origin + 0.45 * local.body((0.17, 0.03))
    fill(shape, ellipse(nape.tolist(), 0.9 * local.head_px, 0.86 * local.head_px), 255)
    shape = shape.filter(ImageFilter.GaussianBlur(max(0.6, 0.006 * local.unit)))
    paint_body(body, local, species, colors, rng)
    paint_head(body, shape, local, species, colors)
    image.paste(body, (0, 0), shape)
    cover = ImageChops.lighter(cover, shape)
    if pose.looks_back:
        paint_bill(image, cover, local, species, colors)
    relief = Image.new("L", size, 0)
    paint_wing(image, cover, relief, local, species, colors)
    lit = _lit(image, shape, relief, local, light, rng)
    paint_eye(lit, local, colors, light)
    return Layer(lit, cover, (int(low[0]), int(low[1])))


def _extremes(species: Species, pose: Pose) -> Points:
    """The points (n, 2) that stick out of the silhouette: tail, wing tip, bill, crest and feet."""
    tail = TAIL_ROOT + (species.tail_length + 0.12) * rotation(180 - pose.tail_angle)[:, 0]
    bill = 0.95 + species.bill_length
    head = pose.head([(bill, 0.4), (bill, -0.6), (-0.9, 1.3 + species.crest)])
    return np.concatenate([pose.body(np.stack([tail, np.array([-0.74, 0.0])])), head, pose.feet])


def _moved(pose: Pose, offset: NDArray[np.int_]) -> Pose:
    return replace(
        pose,
        body=pose.body.moved(offset),
        head=pose.head.moved(offset),
        skull=pose.skull.moved(offset),
        thighs=pose.thighs - offset,
        feet=pose.feet - offset,
    )


def _legs(image: Image.Image, cover: Image.Image, pose: Pose, colors: Palette) -> None:
    """Tarsi with toes; the far leg darker."""
    width = max(1.6, 0.026 * pose.unit)
    for i, tone in ((0, 0.72), (1, 1.0)):
        color: Color = shade(colors.legs, tone)
        hip, foot = pose.thighs[i], pose.feet[i]
        knee = (hip * 0.62 + foot * 0.38) + np.array([-pose.facing * 0.035 * pose.unit, 0])
        leg = ribbon(spline([hip, knee, foot], closed=False, samples=4), width)
        tuft = spline(
            [
                shifted(hip, -0.07 * pose.unit, -4),
                shifted(hip, 0.07 * pose.unit, -4),
                shifted(knee, 0, 0.01 * pose.unit),
            ]
        )
        for target, paint in ((image, color), (cover, 255)):
            fill(target, leg, paint)
            for toe, drop in ((0.1, 0.015), (0.075, 0.035), (0.045, 0.045), (-0.06, 0.03)):
                tip = foot + np.array([pose.facing * toe, drop]) * pose.unit
                bend = (foot + tip) / 2 - (0, 0.012 * pose.unit)
                stroke(target, np.stack([foot, bend, tip]), paint, width * 0.8)
            fill(target, tuft, shade(colors.vent, 0.85 * tone) if target is image else 255)


def _texture(noise: Image.Image, size: tuple[int, int], pose: Pose, zoom: float, shift: Points) -> NDArray[np.float32]:
    """A patch (h, w) float32 of `noise` in [-1, 1], laid along the body's axis."""
    inverse = np.linalg.inv(pose.body.matrix * (zoom / pose.unit))
    a, b = inverse[0, 0], -inverse[0, 1]
    d, e = inverse[1, 0], -inverse[1, 1]
    middle = np.array([256.0, 256.0]) + shift - np.array([[a, b], [d, e]]) @ pose.body.origin
    patch = noise.transform(
        size,
        Image.Transform.AFFINE,
        (a, b, middle[0], d, e, middle[1]),
        Image.Resampling.BILINEAR,
        fillcolor=128,
    )
    return np.asarray(patch, dtype=np.float32) / 127.5 - 1.0


def _swell(mask: Image.Image, radius: float) -> NDArray[np.float32]:
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255.0


def _slopes(shape: Image.Image, relief: Image.Image, pose: Pose) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How the bird's surface falls towards +x and +y, each (h/4, w/4) float32: its parts blown up round."""
    small = (max(2, shape.width // 4), max(2, shape.height // 4))
    unit = pose.unit / 4
    skull = Image.new("L", small, 0)
    fill(skull, pose.skull(ellipse((0, 0), 0.92, 0.92)) / 4, 255)
    tiny = shape.resize(small, Image.Resampling.BOX)
    height = 0.62 * _swell(tiny, 0.13 * unit) + 0.3 * _swell(tiny, 0.045 * unit)
    height += 0.3 * _swell(skull, 0.075 * unit)
    height += 0.2 * _swell(relief.resize(small, Image.Resampling.BOX), 0.03 * unit)
    dy, dx = np.gradient(height)
    return dx * unit, dy * unit


def _lit(
    image: Image.Image,
    shape: Image.Image,
    relief: Image.Image,
    pose: Pose,
    light: Light,
    rng: np.random.Generator,
) -> Image.Image:
    """The painted bird with volume, feather texture and the scene's light on it."""
    dx, dy = _slopes(shape, relief, pose)
    norm = np.sqrt(dx**2 + dy**2 + 0.32)
    facing = -(dx * light.x + dy * light.y) / norm
    field = light.ambient + light.key * np.clip(0.52 + 0.62 * facing, 0, 1.35)
    if light.kind == "backlit":
        field = field + 0.9 * np.clip(np.hypot(dx, dy) / norm - 0.72, 0, 1) * np.clip(0.4 + facing, 0, 1)
    tone = np.asarray(
        Image.fromarray(field.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC),
        dtype=np.float32,
    )
    shift = rng.uniform(-60, 60, (2, 2))
    scales = np.asarray(relief, dtype=np.float32) / 255.0
    barbs = _texture(streak_noise(), image.size, pose, 1.15 * pose.unit / 130, shift[0])
    plumes = _texture(scale_noise(), image.size, pose, 0.62 * pose.unit / 130, shift[1])
    tone = tone * (1 + 0.1 * barbs + (0.17 - 0.14 * scales) * plumes)
    pixels = np.asarray(image, dtype=np.float32)
    warm = np.array(light.tint, dtype=np.float32)
    mix = np.clip(tone - light.ambient, 0, 1)[..., None]
    pixels = pixels * tone[..., None] * (1 + (warm - 1) * mix)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
