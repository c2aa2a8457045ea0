"""What one decode of a photo finds out: sizes, light, color, detail and a thumbnail. All checks feed on it.

A look is a row of fixed width, so that a million of them are one array and one is a blob in the memo. The fields of
`LOOK` below are there for all checks; a check that measures pixels itself adds one float32 field under its own name.
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from featherlite.preprocess import opened, to_rgb

__all__ = ["ANALYSIS_PX", "GRID", "THUMB", "View", "look", "look_dtype", "look_version"]

ANALYSIS_PX = 384
"""Photos are judged at about this size (long side): a JPEG of 12 million pixels is decoded at an eighth, at eight times
the speed, and still read to its last byte."""

THUMB = 28
"""Side of the grey thumbnail that near-duplicates are compared by."""

GRID = 4
"""Side of the grid of mean colors."""

BINS = 64
"""Levels of the histogram that light is judged by."""

LOOK = (
    ("bytes", "<u4"),  # of the file
    ("width", "<u4"),  # of the upright photo
    ("height", "<u4"),
    ("orientation", "u1"),  # as the EXIF block gives it, 1 where it gives none
    ("channels", "u1"),  # 1 where the file itself is greyscale, 3 else
    ("histogram", "<f2", (BINS,)),  # shares of pixels by luma
    ("chroma", "<f2"),  # mean of max(R, G, B) - min(R, G, B) over the photo, 0..1
    ("grid", "u1", (GRID, GRID, 3)),  # mean RGB of each cell
    ("thumb", "u1", (THUMB, THUMB)),  # luma of the photo squashed to a square
)


class View:
    """One decoded photo as the checks measure it. All arrays are upright; they are made when they are asked for."""

    def __init__(self, image: Image.Image, width: int, height: int) -> None:
        self.image = image
        """RGB, reduced so that its long side is about ANALYSIS_PX where it was longer"""
        self.width = width
        """of the photo itself, in pixels"""
        self.height = height

    @cached_property
    def gray(self) -> Image.Image:
        """Luma (ITU-R BT.601) as a Pillow image in mode L."""
        return self.image.convert("L")

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """Luma, uint8 [h, w]."""
        return np.asarray(self.gray)

    @cached_property
    def reduced(self) -> Image.Image:
        """The photo squashed to 2 THUMB x 2 THUMB, RGB."""
        return self.image.resize((2 * THUMB, 2 * THUMB), Image.Resampling.BOX)

    @cached_property
    def small(self) -> NDArray[np.uint8]:
        """The same as an array, uint8 [56, 56, 3]."""
        return np.asarray(self.reduced)

    @cached_property
    def planes(self) -> NDArray[np.uint8]:
        """`small` channel by channel, uint8 [3, 3136]: across channels, arithmetic on it is 20 times as fast."""
        return np.ascontiguousarray(self.small.reshape(-1, 3).T)


@cache
def look_dtype() -> np.dtype[Any]:
    """The columns of a look: those of LOOK, and one float32 for each check that measures pixels."""
    from featherlite.data.checks import measured_checks

    return np.dtype([*LOOK, *((name, "<f4") for name in sorted(measured_checks()))])


@cache
def look_version() -> str:
    """Changes whenever looks would come out differently: what was remembered under another version is not believed."""
    from featherlite.data.checks import measured_checks

    here = Path(__file__).parent
    digest = hashlib.sha256()
    measures = [here / "checks" / f"{name}.py" for name in sorted(measured_checks())]
    for file in (here.parent / "preprocess.py", here / "look.py", *measures):
        digest.update(file.read_bytes())
    return f"{digest.hexdigest()[:12]}/{PIL.__version__}"


def look(content: bytes) -> NDArray[np.void]:
    """The look of one photo: an array of shape [1] and dtype `look_dtype()`. As strict as `preprocess.decode`.

    Raises:
        PhotoError: the content is not a photo that can be decoded in full.
    """
    from featherlite.data.checks import measured_checks

    with opened(content) as image:
        width, height = image.size
        gray = image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")
        if image.format in ("JPEG", "MPO"):
            image.draft("RGB", (ANALYSIS_PX, ANALYSIS_PX))
        image.load()
        orientation = _orientation(image)
        rgb = to_rgb(image)
    # Measured outside of `opened`, which takes every error for a damaged photo: a check's own fault must not look so.
    factor = max(rgb.size) // ANALYSIS_PX
    if factor > 1:
        rgb = rgb.reduce(factor)
    if orientation >= 5:
        width, height = height, width
    view = View(_turned(rgb, orientation), width, height)
    row = np.zeros(1, look_dtype())
    row["bytes"], row["width"], row["height"], row["orientation"] = len(content), width, height, orientation
    row["channels"] = 1 if gray else 3
    counts = np.array(view.gray.histogram(), np.float64).reshape(BINS, -1).sum(axis=1)
    row["histogram"] = counts / counts.sum()
    red, green, blue = view.planes
    span = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    row["chroma"] = float(span.mean(dtype=np.float64)) / 255.0
    row["grid"] = np.asarray(view.reduced.reduce(2 * THUMB // GRID))
    row["thumb"] = np.asarray(view.gray.resize((THUMB, THUMB), Image.Resampling.BOX))
    for name, measure in measured_checks().items():
        row[name] = measure(view)
    return row


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or where it cannot be read."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # as in preprocess: damaged metadata do not spoil the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
