"""A photo beside itself with a map laid over it, as one picture: where a network looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from featherlite.preprocess import Preprocess
from featherlite.report.colormap import colormap, oklab_to_srgb, srgb_to_oklab

__all__ = ["Caption", "overlay_picture", "panel_preprocess", "tinted"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PANEL = 448
"""The longer side of each of the two photos, in pixels."""
MARGIN, GAP = 24, 16
GROUND, INK, FAINT, EMPTY = (255, 255, 255), (28, 28, 30), (110, 110, 115), (232, 232, 236)
THICK = 12
"""Height of the bars beneath, in pixels."""
SHOWN = 0.4
"""How much of the lightness is the photo's; the rest is the map's."""
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc")
"""What is tried for names that Pillow's own font has no letters for."""


@dataclass(frozen=True)
class Caption:
    """The words beneath: what the photo is taken for, how sure, and what the map is."""

    label: str
    probability: float
    method: str


def panel_preprocess(preprocess: Preprocess) -> Preprocess:
    """The same cut of a photo as the network's, large enough to look at, its pixels as they are."""
    factor = PANEL / max(preprocess.width, preprocess.height)
    size = {"width": max(16, round(preprocess.width * factor)), "height": max(16, round(preprocess.height * factor))}
    return preprocess.plain.model_copy(update=size)


def overlay_picture(photo: NDArray[np.uint8], places: NDArray[np.float32], caption: Caption) -> Image.Image:
    """Photo and tinted photo side by side with a scale and a caption.

    `photo` is uint8 [height, width, 3], `places` float32 [h, w] of 0..1 for the same view. Colors run from the lowest
    to the highest place, whose values stand at the scale, so that a map of small differences can be read too.
    """
    height, width = photo.shape[:2]
    low, high = float(places.min()), float(places.max())
    right = MARGIN + width + GAP
    canvas = Image.new("RGB", (right + width + MARGIN, MARGIN + height + 70 + MARGIN), GROUND)
    canvas.paste(Image.fromarray(photo), (MARGIN, MARGIN))
    canvas.paste(Image.fromarray(tinted(photo, places)), (right, MARGIN))
    draw = ImageDraw.Draw(canvas)
    top = MARGIN + height
    _scale(canvas, draw, (right, top + 18), width, (low, high))
    _words(draw, caption, top, width)
    _line(draw, (right, top + 54), caption.method, 15, FAINT, width)
    return canvas


def tinted(photo: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo's light and shade in the colors of the map: uint8 [height, width, 3]; a flat map has the lowest one."""
    height, width = photo.shape[:2]
    spread = float(np.ptp(places))
    share = (places - places.min()) / spread if spread > 0 else np.zeros_like(places)
    large = Image.fromarray(share.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    smooth = np.clip(np.asarray(large), 0, 1)
    colors = srgb_to_oklab(colormap() / 255.0)[np.rint(smooth * 255).astype(np.uint8)]
    lightness = srgb_to_oklab(photo.reshape(-1, 3) / 255.0)[:, 0].reshape(height, width)
    # The map's own hue and chroma, so that the scale can be read; of the photo, the light and shade.
    colors[..., 0] += SHOWN * (lightness - colors[..., 0])
    return np.asarray(np.rint(np.clip(oklab_to_srgb(colors), 0, 1) * 255), np.uint8)


def _scale(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], width: int, ends: tuple[float, float]
) -> None:
    """The colors in a bar, with the values that they stand for at its ends."""
    size, texts = 15, [f"{end:.2f}" for end in ends]
    font = _font(size, texts[0])
    left, right = (round(draw.textlength(text, font=font)) + 10 for text in texts)
    bar = colormap()[np.linspace(0, 255, width - left - right).astype(np.uint8)]
    canvas.paste(Image.fromarray(np.repeat(bar[None], THICK, axis=0)), (at[0] + left, at[1]))
    middle = at[1] + THICK // 2
    draw.text((at[0], middle), texts[0], fill=INK, font=font, anchor="lm")
    draw.text((at[0] + width, middle), texts[1], fill=INK, font=font, anchor="rm")


def _words(draw: ImageDraw.ImageDraw, caption: Caption, top: int, width: int) -> None:
    """The label, and a bar as long as its probability."""
    _line(draw, (MARGIN, top + 14), caption.label, 26, INK, width)
    share = f"{caption.probability:.1%}"
    font = _font(17, share)
    room = round(draw.textlength("100.0%", font=font)) + 12
    length, y = width - room, top + 58
    draw.rectangle((MARGIN, y, MARGIN + length - 1, y + THICK - 1), fill=EMPTY)
    filled = round(length * caption.probability)
    if filled:
        draw.rectangle((MARGIN, y, MARGIN + filled - 1, y + THICK - 1), fill=INK)
    draw.text((MARGIN + width, y + THICK // 2), share, fill=INK, font=font, anchor="rm")


def _line(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, fill: tuple[int, int, int], width: int
) -> None:
    """One line of text, smaller where it is too long, and cut short where it is longer still."""
    text = " ".join(text.split())
    while draw.textlength(text, font=_font(size, text)) > width and size > 12:
        size -= 1
    font = _font(size, text)
    shown = text
    while draw.textlength(shown, font=font) > width and len(shown) > 2:
        shown = shown[:-2].rstrip() + "…"
    draw.text(at, shown, fill=fill, font=font)


def _font(size: int, text: str) -> Font:
    if not text.isascii() and any(ord(letter) > 0x17F and letter not in "–—…’“”" for letter in text):
        for name in OTHER_FONTS:
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)
