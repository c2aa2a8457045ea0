"""Surroundings out of focus: foliage, sky, grass, water, woodland, snow and garden."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from featherlite.data.sample.camera import Light
from featherlite.data.sample.shapes import Color, blend, shade, spline, stroke

SEASONS: dict[str, tuple[Color, ...]] = {
    "summer": ((58, 92, 38), (92, 128, 50), (40, 66, 34), (128, 152, 74), (70, 104, 60)),
    "autumn": ((150, 98, 40), (112, 84, 44), (178, 132, 60), (84, 72, 40), (132, 60, 34)),
    "spring": ((128, 160, 80), (168, 186, 108), (96, 130, 70), (202, 206, 150), (222, 190, 198)),
    "winter": ((150, 152, 154), (118, 116, 114), (186, 190, 196), (96, 92, 88), (206, 210, 216)),
}
Painter = Callable[[int, tuple[Color, ...], Light, np.random.Generator], Image.Image]


def draw_background(canvas_px: int, place: str, season: str, light: Light, rng: np.random.Generator) -> Image.Image:
    """An RGB picture (canvas_px square) of the surroundings, blurred by the lens."""
    painters: dict[str, Painter] = {
        "foliage": _foliage, "sky": _sky, "grass": _grass, "water": _water, "wood": _wood, "garden": _garden,
    }  # fmt: skip
    small = painters[place](96, SEASONS[season], light, rng)
    blur = float(rng.uniform(1.2, 3.6))
    small = small.filter(ImageFilter.GaussianBlur(blur))
    image = small.resize((canvas_px, canvas_px), Image.Resampling.BICUBIC)
    if light.kind in ("sun", "evening", "backlit") and place in ("foliage", "wood") and rng.random() < 0.6:
        _bokeh(image, light, rng)
    return image


def _pick(colors: tuple[Color, ...], rng: np.random.Generator, spread: float = 0.16) -> Color:
    return shade(colors[int(rng.integers(len(colors)))], float(np.clip(rng.normal(1, spread), 0.5, 1.5)))


def _gradient(size: int, top: Color, bottom: Color) -> Image.Image:
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), top)
    strip.putpixel((0, 1), bottom)
    return strip.resize((size, size), Image.Resampling.BILINEAR)


def _foliage(size: int, colors: tuple[Color, ...], _light: Light, rng: np.random.Generator) -> Image.Image:
    base = _pick(colors, rng)
    image = _gradient(size, shade(base, float(rng.uniform(0.8, 1.5))), shade(base, float(rng.uniform(0.45, 0.9))))
    draw = ImageDraw.Draw(image)
    scale = float(rng.uniform(0.5, 1.4))
    for _ in range(int(rng.integers(14, 26))):
        x, y = rng.uniform(-5, size + 5, 2)
        reach, tone = float(rng.uniform(6, 16)) * scale, _pick(colors, rng, 0.25)
        for _ in range(7):
            dx, dy = rng.normal(0, 0.7, 2) * reach
            w, h = rng.uniform(0.15, 0.55, 2) * reach
            draw.ellipse(
                (x + dx - w, y + dy - h, x + dx + w, y + dy + h),
                fill=shade(tone, float(rng.uniform(0.75, 1.3))),
            )
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(2, 8))):
            x, y = rng.uniform(0, size, 2)
            w = float(rng.uniform(3, 11))
            draw.ellipse((x - w, y - w, x + w, y + w), fill=(206, 216, 222))
    return image


def _sky(size: int, colors: tuple[Color, ...], light: Light, rng: np.random.Generator) -> Image.Image:
    if light.kind == "evening":
        top, bottom = (146, 152, 186), (240, 196, 150)
    elif light.kind in ("overcast", "shade"):
        top, bottom = (176, 184, 192), (216, 219, 222)
    else:
        top, bottom = (88, 140, 206), (178, 208, 234)
    image = _gradient(size, shade(top, float(rng.uniform(0.85, 1.1))), bottom)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 7))):
        x, y = float(rng.uniform(0, size)), float(rng.uniform(0, size))
        for _ in range(5):
            dx, dy = rng.normal(0, 9), rng.normal(0, 3)
            w, h = rng.uniform(5, 14), rng.uniform(2, 6)
            draw.ellipse((x + dx - w, y + dy - h, x + dx + w, y + dy + h), fill=blend(bottom, (250, 250, 250), 0.6))
    if rng.random() < 0.4:
        floor = float(rng.uniform(0.72, 0.95)) * size
        for _ in range(24):
            x, h = float(rng.uniform(0, size)), float(rng.uniform(3, 14))
            draw.ellipse((x - 8, floor - h, x + 8, floor + 60), fill=shade(_pick(colors, rng), 0.8))
    return image


def _grass(size: int, colors: tuple[Color, ...], _light: Light, rng: np.random.Generator) -> Image.Image:
    base = _pick(colors[:3], rng)
    image = _gradient(size, shade(base, float(rng.uniform(0.9, 1.5))), shade(base, 0.7))
    draw = ImageDraw.Draw(image)
    for _ in range(110):
        x, y = float(rng.uniform(-5, size + 5)), float(rng.uniform(0, size + 20))
        reach = 6 + 0.22 * y * float(rng.uniform(0.5, 1.3))
        lean = float(rng.normal(0, 0.25)) * reach
        draw.line((x, y, x + lean, y - reach), fill=_pick(colors, rng, 0.25), width=int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(0, 14))):
        x, y = rng.uniform(0, size, 2)
        bloom = ((236, 220, 90), (236, 236, 240), (196, 120, 190))[int(rng.integers(3))]
        w = float(rng.uniform(1, 3))
        draw.ellipse((x - w, y - w, x + w, y + w), fill=bloom)
    return image


def _water(size: int, colors: tuple[Color, ...], light: Light, rng: np.random.Generator) -> Image.Image:
    sky: Color = (222, 180, 140) if light.kind == "evening" else (132, 160, 184)
    if light.kind in ("overcast", "shade"):
        sky = (150, 160, 166)
    deep = blend(sky, _pick(colors, rng), float(rng.uniform(0.3, 0.8)))
    image = _gradient(size, shade(sky, float(rng.uniform(0.8, 1.1))), shade(deep, 0.7))
    draw = ImageDraw.Draw(image)
    for _ in range(120):
        y = float(rng.uniform(0, size))
        x, reach = float(rng.uniform(-10, size)), float(rng.uniform(4, 22)) * (0.4 + y / size)
        tone = blend(sky, deep, float(rng.uniform(-0.4, 1.2)))
        draw.ellipse((x, y, x + reach, y + 1 + 1.6 * y / size), fill=shade(tone, float(rng.uniform(0.75, 1.25))))
    if rng.random() < 0.5:
        bank = float(rng.uniform(0.08, 0.3)) * size
        draw.rectangle((0, 0, size, bank), fill=shade(_pick(colors, rng), 0.75))
    return image


def _wood(size: int, colors: tuple[Color, ...], light: Light, rng: np.random.Generator) -> Image.Image:
    image = _foliage(size, colors, light, rng)
    bark = ((74, 62, 52), (98, 88, 76), (54, 46, 40), (150, 144, 138))
    for _ in range(int(rng.integers(2, 7))):
        x, lean = float(rng.uniform(0, size)), float(rng.normal(0, 9))
        line = spline([(x, -5), (x + 0.5 * lean, size / 2), (x + lean, size + 5)], closed=False, samples=3)
        stroke(image, line, _pick(bark, rng), float(rng.uniform(2, 12)))
    for _ in range(int(rng.integers(0, 6))):
        a, b = rng.uniform(0, size, 2), rng.uniform(0, size, 2)
        stroke(image, np.stack([a, b]), _pick(bark, rng), 1.5)
    return image


def _garden(size: int, colors: tuple[Color, ...], _light: Light, rng: np.random.Generator) -> Image.Image:
    """A wall, fence or lawn behind a bird table."""
    wall: tuple[Color, ...] = (
        (168, 150, 132),
        (146, 92, 72),
        (196, 192, 184),
        (110, 118, 122),
        (126, 104, 82),
    )
    tone = _pick(wall, rng, 0.12)
    image = _gradient(size, shade(tone, 1.08), shade(tone, 0.85))
    draw = ImageDraw.Draw(image)
    step = float(rng.uniform(7, 18))
    upright = rng.random() < 0.5
    for i in range(int(size / step) + 1):
        at = i * step
        ends = (at, 0, at, size) if upright else (0, at, size, at)
        draw.line(ends, fill=shade(tone, float(rng.uniform(0.62, 0.8))), width=1)
    lawn = float(rng.uniform(0.5, 1.1)) * size
    draw.rectangle((0, lawn, size, size + 20), fill=_pick(colors[:3], rng))
    for _ in range(int(rng.integers(12, 50))):
        x, w = float(rng.uniform(0, size)), float(rng.uniform(1.5, 7))
        y = lawn - float(rng.uniform(-10, 8))
        draw.ellipse((x - w, y - w, x + w, y + w), fill=_pick(colors, rng, 0.25))
    return image


def _bokeh(image: Image.Image, light: Light, rng: np.random.Generator) -> None:
    """Bright discs where the light breaks through."""
    size = image.width
    veil = Image.new("L", (size // 2, size // 2), 0)
    draw = ImageDraw.Draw(veil)
    for _ in range(int(rng.integers(5, 24))):
        x, y = rng.uniform(0, size / 2, 2)
        y *= 0.8
        w = float(rng.uniform(0.012, 0.04)) * size
        draw.ellipse((x - w, y - w, x + w, y + w), fill=int(rng.integers(25, 110)))
    veil = veil.filter(ImageFilter.GaussianBlur(1.2)).resize(image.size, Image.Resampling.BILINEAR)
    glow: Color = (255, 236, 190) if light.kind == "evening" else (238, 246, 226)
    image.paste(glow, (0, 0), veil)


def draw_place(rng: np.random.Generator) -> tuple[str, str, str]:
    """A random (place, perch, season) whose parts go together."""
    season = str(rng.choice(list(SEASONS), p=[0.42, 0.22, 0.2, 0.16]))
    perch = str(
        rng.choice(["branch", "feeder", "post", "ground", "rock", "reed"], p=[0.46, 0.14, 0.12, 0.13, 0.08, 0.07])
    )
    places = {
        "branch": ["foliage", "foliage", "foliage", "wood", "sky", "sky", "garden"],
        "feeder": ["garden", "garden", "foliage", "foliage", "sky"],
        "post": ["grass", "grass", "sky", "foliage", "garden"],
        "ground": ["grass"],
        "rock": ["water", "water", "grass", "wood"],
        "reed": ["water", "grass", "sky"],
    }
    return str(rng.choice(places[perch])), perch, season
