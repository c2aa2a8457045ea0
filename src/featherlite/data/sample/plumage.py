"""A bird's colors, jittered for the individual, and the painting of its body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from featherlite.data.sample.pose import Pose
from featherlite.data.sample.shapes import Color, ellipse, fill, ribbon, shade, spline
from featherlite.data.sample.species import Species


@dataclass(frozen=True, slots=True)
class Palette:
    """One individual's colors; regions that the species leaves open are filled from their neighbors."""

    back: Color
    belly: Color
    crown: Color
    nape: Color
    cheek: Color
    throat: Color
    breast: Color
    flank: Color
    rump: Color
    vent: Color
    wing: Color
    coverts: Color
    edge: Color
    bar: Color
    tail: Color
    bill_upper: Color
    bill_lower: Color
    legs: Color
    eye: Color
    mark: Color
    extra: dict[str, Color]

    @staticmethod
    def of(species: Species, rng: np.random.Generator) -> Palette:
        """The colors of one individual of `species`."""
        gain = rng.normal(1.0, 0.05) * rng.normal(1.0, 0.02, 3)

        def color(*names: str) -> Color:
            code = next(value for value in (getattr(species, name) for name in names) if value)
            channels = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) * gain
            red, green, blue = (int(v) for v in np.clip(np.round(channels), 0, 255))
            return (red, green, blue)

        own = ("brow", "stripe", "mask", "bib", "malar", "band", "ring", "panel", "tail_edge")
        return Palette(
            back=color("back"),
            belly=color("belly"),
            crown=color("crown", "back"),
            nape=color("nape", "back"),
            cheek=color("cheek", "back"),
            throat=color("throat", "belly"),
            breast=color("breast", "belly"),
            flank=color("flank", "breast", "belly"),
            rump=color("rump", "back"),
            vent=color("vent", "belly"),
            wing=color("wing"),
            coverts=color("coverts", "back"),
            edge=color("edge"),
            bar=color("bar"),
            tail=color("tail"),
            bill_upper=color("bill_upper"),
            bill_lower=color("bill_lower"),
            legs=color("legs"),
            eye=color("eye"),
            mark=color("mark"),
            extra={name: color(name) for name in own if getattr(species, name)},
        )


def paint_body(image: Image.Image, pose: Pose, species: Species, colors: Palette, rng: np.random.Generator) -> None:
    """Paint breast, flanks, vent, back and rump in place, and the marks on the underside."""
    u, to = pose.unit, pose.body
    fill(image, to(spline([(-0.75, 0.1), (-0.2, -0.1), (-0.28, -0.5), (-0.8, -0.3)])), colors.vent, 0.04 * u)
    fill(image, to(ellipse((-0.08, -0.1), 0.36, 0.15, degrees=8)), colors.flank, 0.05 * u)
    front = [(0.75, 0.3), (0.3, 0.28), (0.1, 0.05), (0.06, -0.16), (0.2, -0.25), (0.5, -0.4), (0.8, -0.1)]
    fill(image, to(spline(front)), colors.breast, 0.05 * u)
    fill(image, to(ellipse((0.1, -0.28), 0.3, 0.07, degrees=6)), shade(colors.belly, 1.04), 0.05 * u, 0.6)
    if "band" in colors.extra:
        band = to(spline([(0.48, 0.08), (0.36, -0.04), (0.28, -0.3)], closed=False))
        fill(image, ribbon(band, 0.085 * u), colors.extra["band"], 0.012 * u)
    if species.marks != "none":
        _marks(image, pose, species, colors, rng)
    back = [(0.34, 0.6), (-0.6, 0.5), (-0.8, 0.02), (-0.5, 0.015), (-0.1, 0.06), (0.2, 0.1), (0.3, 0.2)]
    fill(image, to(spline(back)), colors.back, 0.03 * u)
    fill(image, to(ellipse((-0.46, 0.08), 0.13, 0.07, degrees=14)), colors.rump, 0.03 * u)


def _marks(image: Image.Image, pose: Pose, species: Species, colors: Palette, rng: np.random.Generator) -> None:
    """Streaks, spots or bars in rows over breast and flanks."""
    for row in range(8):
        y = -0.27 + 0.052 * row
        for column in range(12):
            x = -0.32 + 0.068 * column + (row % 2) * 0.034
            if rng.random() < 0.12 or (x - 0.05) ** 2 / 0.17 + (y + 0.05) ** 2 / 0.06 > 1:
                continue
            x, y_at = x + float(rng.normal(0, 0.008)), y * pose.plump + float(rng.normal(0, 0.006))
            if species.marks == "streaks":
                drop = ellipse((x, y_at), 0.042, 0.0095, 8, degrees=float(rng.normal(-6, 8)))
            elif species.marks == "spots":
                drop = ellipse((x, y_at), 0.017, 0.016, 8)
            else:
                drop = ellipse((x, y_at), 0.009, 0.026, 8, degrees=float(rng.normal(20, 10)))
            fill(image, pose.body(drop), colors.mark)
