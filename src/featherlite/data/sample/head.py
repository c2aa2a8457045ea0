"""A bird's head: cap, cheek, brow, eye stripe, bib, crest, bill and eye."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from featherlite.data.sample.camera import Light
from featherlite.data.sample.plumage import Palette
from featherlite.data.sample.pose import Pose
from featherlite.data.sample.shapes import Color, Frame, ellipse, fill, ribbon, rotation, shade, spline, stroke
from featherlite.data.sample.species import Species

EYE = np.array([0.4, 0.14])


def paint_head(image: Image.Image, shape: Image.Image, pose: Pose, species: Species, colors: Palette) -> None:
    """Paint the head's plumage in place on the body's image; the crest also on `shape`."""
    r, to = pose.head_px, pose.head
    nape = [(-1.5, 0.9), (-0.55, 0.5), (-0.45, -0.2), (-0.55, -1.1), (-1.5, -1.5), (-1.9, -0.4)]
    fill(image, to(ellipse((0.05, -0.05), 1.12, 1.06)), colors.cheek, 0.12 * r)
    fill(image, to(spline(nape)), colors.nape, 0.2 * r)
    throat = [(1.2, -0.12), (0.75, -0.2), (0.25, -0.48), (0.0, -0.85), (0.25, -1.4), (0.9, -1.2), (1.3, -0.6)]
    fill(image, to(spline(throat)), colors.throat, 0.1 * r)
    if species.crest:
        _crest(image, shape, pose, species, colors)
    cap = [
        (1.2, 0.22),
        (0.7, 0.3),
        (0.2, 0.42),
        (-0.3, 0.32),
        (-0.8, 0.1),
        (-1.3, 0.3),
        (-0.9, 1.3),
        (0.4, 1.4),
    ]
    fill(image, to(spline(cap)), colors.crown, 0.07 * r)
    extra = colors.extra
    if "brow" in extra:
        brow = to(spline([(0.95, 0.28), (0.45, 0.42), (-0.1, 0.42), (-0.65, 0.24)], closed=False))
        fill(image, ribbon(brow, np.linspace(0.13, 0.2, len(brow)) * r), extra["brow"], 0.03 * r)
    if "stripe" in extra:
        stripe = to(spline([(0.98, 0.08), (0.4, 0.14), (-0.2, 0.1), (-0.75, -0.02)], closed=False))
        fill(image, ribbon(stripe, 0.15 * r), extra["stripe"], 0.03 * r)
    if "mask" in extra:
        mask = [(1.2, 0.25), (0.7, 0.42), (0.25, 0.38), (-0.1, 0.1), (0.1, -0.3), (0.6, -0.75), (1.2, -0.6)]
        fill(image, to(spline(mask)), extra["mask"], 0.06 * r)
    if "malar" in extra:
        malar = to(spline([(0.85, -0.3), (0.45, -0.58), (0.12, -0.95)], closed=False))
        fill(image, ribbon(malar, 0.13 * r), extra["malar"], 0.03 * r)
    if "bib" in extra:
        bib = [(1.2, -0.15), (0.7, -0.32), (0.4, -0.7), (0.1, -1.25), (0.4, -1.9), (1.0, -1.7), (1.4, -0.8)]
        fill(image, to(spline(bib)), extra["bib"], 0.07 * r)


def _crest(image: Image.Image, shape: Image.Image, pose: Pose, species: Species, colors: Palette) -> None:
    """A pointed crest that rises from the crown."""
    h = species.crest
    plume = [
        (0.75, 0.62),
        (0.3, 1.15),
        (-0.35, 1.25 + 0.55 * h),
        (-0.85, 1.3 + 0.75 * h),
        (-0.75, 0.95),
        (-0.95, 0.4),
    ]
    for target, paint in ((shape, 255), (image, colors.crown)):
        fill(target, pose.head(spline(plume)), paint, 0.05 * pose.head_px)
    for lean in (0.0, 0.25):
        line = pose.head(
            spline([(0.2 - lean, 0.9), (-0.3 - lean, 1.2 + 0.3 * h), (-0.75, 1.25 + 0.6 * h)], closed=False)
        )
        stroke(image, line, shade(colors.crown, 0.8), 0.05 * pose.head_px)


def paint_bill(image: Image.Image, cover: Image.Image, pose: Pose, species: Species, colors: Palette) -> None:
    """Paint both mandibles in place; the body, painted later, covers their roots."""
    length, half, drop = species.bill_length, 0.5 * species.bill_depth, species.bill_curve
    root = 0.72
    tip = root + 0.22 + length
    middle = root + 0.22 + 0.5 * length
    seam = (middle, -0.02 - 0.45 * drop)
    upper = [
        (root, 0.06 + half),
        (root + 0.3, 0.05 + 0.95 * half),
        (middle, 0.04 + 0.72 * half - 0.3 * drop),
        (tip, -drop),
        (tip - 0.04, -drop - 0.03),
        seam,
        (root, 0.0),
    ]
    lower = [
        (root, 0.0),
        seam,
        (tip - 0.1, -drop - 0.02),
        (middle, -0.02 - 0.62 * half - 0.4 * drop),
        (root + 0.25, -0.8 * half),
        (root, -0.85 * half),
    ]
    _mandible(image, cover, pose, lower, -0.7 * pose.gape, colors.bill_lower)
    _mandible(image, cover, pose, upper, 0.4 * pose.gape, colors.bill_upper)
    ridge = _hinged(pose.head, 0.4 * pose.gape)(upper[1:4])
    stroke(image, ridge, shade(colors.bill_upper, 1.3), 0.03 * pose.head_px)
    gape = _hinged(pose.head, 0.4 * pose.gape)([(root, 0.0), (middle, -0.02 - 0.45 * drop), (tip - 0.05, -drop - 0.02)])
    stroke(image, gape, shade(colors.bill_lower, 0.5), 0.03 * pose.head_px)


def _hinged(head: Frame, degrees: float) -> Frame:
    """The head's frame turned about the root of the bill."""
    hinge = np.array([0.8, 0.0])
    turn = rotation(degrees)
    moved = head(hinge - turn @ hinge)
    return Frame(head.matrix @ turn, moved)


def _mandible(
    image: Image.Image,
    cover: Image.Image,
    pose: Pose,
    points: list[tuple[float, float]],
    turn: float,
    color: Color,
) -> None:
    outline = _hinged(pose.head, turn)(spline(points, samples=4))
    fill(image, outline, color)
    fill(cover, outline, 255)


def paint_eye(image: Image.Image, pose: Pose, colors: Palette, light: Light) -> None:
    """Paint the near eye in place: ring, iris, pupil and the sky's highlight."""
    r, at = pose.head_px, pose.head(EYE)
    ring = colors.extra.get("ring")
    rims: list[tuple[float, Color]] = [(0.225, ring)] if ring else [(0.2, shade(colors.cheek, 0.55))]
    draw = ImageDraw.Draw(image)
    for radius, color in [
        *rims,
        (0.165, shade(colors.eye, light.ambient + 0.4 * light.key)),
        (0.115, (10, 8, 8)),
    ]:
        reach = radius * r
        draw.ellipse((at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach), fill=color)
    spot = at + np.array([light.x, light.y]) * 0.075 * r
    reach = max(0.7, 0.05 * r)
    draw.ellipse((spot[0] - reach, spot[1] - reach, spot[0] + reach, spot[1] + reach), fill=(244, 246, 250))
