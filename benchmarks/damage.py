"""The faults that the audit's benchmark plants: each makes the content of a faulty file from that of a sound photo.

Needs Pillow and NumPy alone. All draws come from the generator that is given.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

__all__ = ["BYTES", "PIXELS", "TWINS", "Change", "damaged"]

Change = Callable[[Image.Image, Generator], Image.Image]

QUALITY = 92
"""JPEG quality of all that is not about quality."""


def damaged(content: bytes, kind: str, random: Generator) -> bytes:
    """The content of a file with the fault of that kind, made from a sound photo's content."""
    if kind in BYTES:
        return BYTES[kind](content, random)
    return _jpeg(PIXELS[kind](_opened(content), random))


def _opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _jpeg(image: Image.Image, quality: int = QUALITY, exif: Image.Exif | None = None) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, **({"exif": exif} if exif else {}))
    return stream.getvalue()


def _scaled(image: Image.Image, across: float, down: float | None = None) -> Image.Image:
    size = max(1, round(image.width * across)), max(1, round(image.height * (across if down is None else down)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _mapped(image: Image.Image, curve: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    pixels = curve(np.asarray(image, np.float32))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


# ---- the same picture again --------------------------------------------------------------------------------------


def cropped(image: Image.Image, random: Generator) -> Image.Image:
    """5% to 12% off the width and off the height, at a random place."""
    width, height = (round(side * (1 - random.uniform(0.05, 0.12))) for side in image.size)
    left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def contrasted(image: Image.Image, random: Generator) -> Image.Image:
    """Contrast to 60-75% or to 130-150%."""
    factor = random.uniform(0.6, 0.75) if random.random() < 0.5 else random.uniform(1.3, 1.5)
    return ImageEnhance.Contrast(image).enhance(factor)


def recolored(image: Image.Image, random: Generator) -> Image.Image:
    """Saturation to 30-60% or to 150-180%, or the white balance warmer or colder by 12%."""
    way = random.integers(3)
    if way == 2:
        warm = 0.12 if random.random() < 0.5 else -0.12
        return _mapped(image, lambda pixels: pixels * np.float32([1 + warm, 1, 1 - warm]))
    return ImageEnhance.Color(image).enhance(random.uniform(0.3, 0.6) if way else random.uniform(1.5, 1.8))


def watermarked(image: Image.Image, random: Generator) -> Image.Image:
    """A half-transparent line of text over a corner or the centre, 7% to 13% of the width high."""
    font = ImageFont.load_default(size=max(8.0, image.width * random.uniform(0.07, 0.13)))
    text = ("© PHOTO STOCK", "sample.example", "Jane Doe 2019")[random.integers(3)]
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    free = image.width - (right - left), image.height - (bottom - top)
    at = ((0.5, 0.5), (0.02, 0.02), (0.98, 0.02), (0.02, 0.98), (0.98, 0.98))[random.integers(5)]
    place = free[0] * at[0] - left, free[1] * at[1] - top
    draw.text(place, text, font=font, fill=int(255 * random.uniform(0.5, 0.9)))
    result = image.copy()
    result.paste((255, 255, 255), mask=mask)
    return result


def _quality(random: Generator) -> int:
    return int(random.integers(30, 61))


TWINS: dict[str, Change] = {
    "resized": lambda image, random: _scaled(image, random.uniform(0.5, 0.8)),
    "cropped": cropped,
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image, _: ImageEnhance.Brightness(image).enhance(0.7),
    "contrast": contrasted,
    "color": recolored,
    "watermarked": watermarked,
}
"""Changes that leave the picture the same to a person."""


def reencoded(content: bytes, random: Generator) -> bytes:
    """The photo at JPEG quality 30 to 60."""
    return _jpeg(_opened(content), _quality(random))


def combined(content: bytes, random: Generator) -> bytes:
    """Two of the changes one after the other, or one and a low JPEG quality."""
    first, second = random.choice([*TWINS, "reencoded"], 2, replace=False)
    image = _opened(content)
    for name in (first, second):
        image = TWINS[name](image, random) if name in TWINS else image
    return _jpeg(image, _quality(random) if "reencoded" in (first, second) else QUALITY)


def any_twin(content: bytes, random: Generator) -> bytes:
    """One of the ways in which the same picture comes again, byte-identical aside."""
    return damaged(content, str(random.choice([*TWINS, "reencoded", "combined"])), random)


# ---- faults of a single photo ------------------------------------------------------------------------------------


def blurred(image: Image.Image, random: Generator) -> Image.Image:
    """Out of focus: a Gaussian with a sigma of 1.5% to 3% of the width."""
    return image.filter(ImageFilter.GaussianBlur(image.width * random.uniform(0.015, 0.03)))


def moved(image: Image.Image, random: Generator) -> Image.Image:
    """Shaken: the mean along a line of 6% to 10% of the width, in any direction."""
    length, angle = image.width * random.uniform(0.06, 0.10), random.uniform(0, math.pi)
    steps = max(2, math.ceil(length))
    away = np.linspace(-length / 2, length / 2, steps)
    shifts = np.rint(np.stack([away * math.sin(angle), away * math.cos(angle)], axis=1)).astype(int)
    reach = int(np.abs(shifts).max())
    padded = np.pad(np.asarray(image, np.float32), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros((image.height, image.width, 3), np.float32)
    for down, across in shifts:
        total += padded[reach + down : reach + down + image.height, reach + across : reach + across + image.width]
    return Image.fromarray(np.rint(total / steps).astype(np.uint8))


def over_exposed(image: Image.Image, random: Generator) -> Image.Image:
    """As much gain as lifts 50% to 85% of the pixels past white, each channel cut off there."""
    level = float(np.quantile(np.asarray(image.convert("L")), 1 - random.uniform(0.5, 0.85)))
    return _mapped(image, lambda pixels: pixels * (255 / max(1.0, level)))


def washed_out(image: Image.Image, random: Generator) -> Image.Image:
    """All levels in the brightest 12% to 25% of the range."""
    left = random.uniform(0.12, 0.25)
    return _mapped(image, lambda pixels: 255 - (255 - pixels) * left)


def colorless(image: Image.Image, random: Generator) -> Image.Image:
    """Without color; half of them are stored as three equal channels."""
    gray = image.convert("L")
    return gray.convert("RGB") if random.random() < 0.5 else gray


def flat(image: Image.Image, random: Generator) -> Image.Image:
    """Next to nothing to see: the mean color with a little noise, or the photo at 3% to 6% of its contrast."""
    kept = 0.0 if random.random() < 0.5 else random.uniform(0.03, 0.06)
    noise = random.normal(0, 1, (image.height, image.width, 1)).astype(np.float32)
    return _mapped(image, lambda pixels: pixels.mean((0, 1)) * (1 - kept) + pixels * kept + noise)


def odd_sized(image: Image.Image, random: Generator) -> Image.Image:
    """2 to 3.5 times as large, or at 30% to 45%."""
    return _scaled(image, random.uniform(2, 3.5) if random.random() < 0.5 else random.uniform(0.3, 0.45))


def odd_aspect(image: Image.Image, random: Generator) -> Image.Image:
    """A strip, four to six times as long as wide."""
    thin = 1 / random.uniform(4, 6)
    share = (1.0, thin) if random.random() < 0.5 else (thin, 1.0)
    width, height = (max(1, round(side * part)) for side, part in zip(image.size, share, strict=True))
    left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def tiny(image: Image.Image, random: Generator) -> Image.Image:
    """A thumbnail of 12 to 24 pixels."""
    side = int(random.integers(12, 25))
    return image.resize((side, max(1, round(side * image.height / image.width))), Image.Resampling.LANCZOS)


PIXELS: dict[str, Change] = {
    **TWINS,
    "blurred": blurred,
    "motion": moved,
    "dark": lambda image, random: ImageEnhance.Brightness(image).enhance(random.uniform(0.08, 0.25)),
    "over-exposed": over_exposed,
    "washed-out": washed_out,
    "low-information": flat,
    "grayscale": colorless,
    "odd-size": odd_sized,
    "odd-aspect": odd_aspect,
    "tiny": tiny,
}


# ---- faults of a file --------------------------------------------------------------------------------------------


def turned(content: bytes, random: Generator) -> bytes:
    """Stored on its side or upside down, with the EXIF orientation that puts it right."""
    orientation, back = (
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    )[random.integers(3)]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _jpeg(_opened(content).transpose(back), exif=exif)


BYTES: dict[str, Callable[[bytes, Generator], bytes]] = {
    "exact": lambda content, _: content,
    "reencoded": reencoded,
    "combined": combined,
    "any-twin": any_twin,
    "rotated": turned,
    "truncated": lambda content, random: content[: int(len(content) * random.uniform(0.2, 0.8))],
    "empty": lambda *_: b"",
    "text": lambda *_: b"<html><body>404: this photo is no longer available</body></html>\n",
}
