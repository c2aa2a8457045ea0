"""The preprocessing contract: image bytes to model input, implemented once, in NumPy and Pillow.

Training, evaluation, LiteRT, the server, the browser and the device follow it. Its product is a uint8 RGB array; a
float network sees `(pixel - 128) / 128` and an int8 artefact sees exactly `pixel - 128`, so that a device feeds camera
bytes with no float arithmetic.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from featherlite.errors import DataError

__all__ = ["FORMATS", "PhotoError", "Preprocess", "check", "decode", "network_input", "softmax", "to_rgb"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What Pillow may open (JPEG covers phones' MPO). Named, so that a hostile file cannot choose an obscure decoder."""

MAX_PIXELS = 89_000_000
"""Photos with more pixels are refused from their header, before a byte of them is decoded (decompression bombs)."""

Pixels = NDArray[np.uint8]


class Preprocess(BaseModel):
    """How a photo becomes a model input. Stored in every bundle as preprocess.json.

    `fit` says how a photo that is not square becomes so: `crop` cuts the centre square, `squash` stretches the whole
    photo, `pad` keeps the whole photo and fills the rest with mid-grey (128, which is zero to the network).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    width: int = Field(96, ge=16, le=1024, description="input width in pixels")
    height: int = Field(96, ge=16, le=1024, description="input height in pixels")
    fit: Literal["crop", "squash", "pad"] = "crop"
    resample: Literal["bilinear_antialias"] = "bilinear_antialias"
    exif_orientation: Literal[True] = True
    channels: Literal["RGB"] = "RGB"
    offset: Literal[128] = 128
    scale: Literal[128] = 128

    def __call__(self, source: bytes | Path | Image.Image) -> Pixels:
        """One photo as the model wants it: uint8 [height, width, 3], RGB, 0..255.

        Raises:
            DataError: the source is not a photo that can be decoded in full.
        """
        image = source if isinstance(source, Image.Image) else decode(source)
        return np.asarray(self.resize(image), dtype=np.uint8)

    def resize(self, image: Image.Image) -> Image.Image:
        """The RGB image brought to (width, height) as `fit` says."""
        size = (self.width, self.height)
        if image.size == size:
            return image
        if self.fit == "squash":
            return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=None)
        if self.fit == "crop":
            return image.resize(size, Image.Resampling.BILINEAR, box=self._crop_box(*image.size))
        scale = min(self.width / image.width, self.height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        canvas = Image.new("RGB", size, (self.offset,) * 3)
        corner = ((self.width - inner[0]) // 2, (self.height - inner[1]) // 2)
        canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), corner)
        return canvas

    def _crop_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        # The short side is kept as it is: through a factor it could come out a rounding error too long.
        if width * self.height <= height * self.width:
            crop_width, crop_height = float(width), width * self.height / self.width
        else:
            crop_width, crop_height = height * self.width / self.height, float(height)
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        return (left, top, left + crop_width, top + crop_height)


class PhotoError(DataError):
    """A file is not a photo that can be decoded in full. `reason` is a short code, `why` a clause without the file."""

    def __init__(self, where: str, reason: str, why: str) -> None:
        self.reason = reason
        self.why = why
        super().__init__(f"{where}: {why}.", "Give a photo as JPEG, PNG, WebP, BMP, GIF or TIFF.")


def decode(source: bytes | Path) -> Image.Image:
    """One photo in full as an RGB Pillow image, turned upright by its EXIF orientation.

    Transparent parts are laid over mid-grey; 16-bit greyscale is scaled to 8 bits; of an animation the first frame
    counts; CMYK and palettes are converted. An orientation that cannot be read counts as upright.

    Raises:
        PhotoError: empty, not an image, of a format outside `FORMATS`, truncated, or of too many pixels.
    """
    with _opened(source) as image:
        image.load()
        return to_rgb(_upright(image))


def check(source: bytes | Path) -> None:
    """Reads one photo to its last byte without making its pixels: as strict as `decode`, for JPEG at twice the speed.

    All of a JPEG's entropy-coded data is read; only the arithmetic that turns it into pixels is cut to an eighth.

    Raises:
        PhotoError: as `decode`.
    """
    with _opened(source) as image:
        if image.format in ("JPEG", "MPO"):
            image.draft("RGB", (1, 1))
        image.load()
        to_rgb(image)


@contextmanager
def _opened(source: bytes | Path) -> Iterator[Image.Image]:
    """The image with only its header read, within the limits; whatever goes wrong inside becomes a PhotoError."""
    where = str(source) if isinstance(source, Path) else f"{len(source)} bytes"
    too_many = f"too many pixels, at most {MAX_PIXELS // 1_000_000} million allowed"
    try:
        if source == b"" or (isinstance(source, Path) and source.is_file() and source.stat().st_size == 0):
            raise PhotoError(where, "empty", "the file is empty")
        # Warnings stay as they are: silencing them is not safe in threads, and Pillow's limits are wider than ours.
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PhotoError(where, "too-many-pixels", f"{image.width}x{image.height} are {too_many}")
            yield image
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(where, "missing", "no such file") from None
    except PermissionError:
        raise PhotoError(where, "unreadable", "not readable (permission denied)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PhotoError(where, "too-many-pixels", too_many) from None
    except UnidentifiedImageError:
        raise PhotoError(where, "not-an-image", "not an image in a known format") from None
    except MemoryError:
        raise PhotoError(where, "unreadable", "not enough memory to decode it") from None
    except Exception as error:  # Pillow's decoders report damage with a dozen types, struct and zlib errors among them
        line = _first_line(error)
        reason = "truncated" if "truncated" in line.lower() else "damaged"
        raise PhotoError(where, reason, f"not a readable photo ({line})") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata (struct, Unicode, syntax and value errors) do not spoil the pixels
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB, 8 bits a channel."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_gray_to_rgb(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, (128, 128, 128))
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return canvas
    return image.convert("RGB")


def _deep_gray_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit and float greyscale scaled to 0..255; Pillow's own conversion clips everything above 255 to white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0.0) > 255.0 else 255.0
    gray = np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


def network_input(photos: Pixels) -> NDArray[np.float32]:
    """What a float network sees of uint8 photos of any shape: float32 of the same shape, (pixel - 128) / 128."""
    return (photos.astype(np.float32) - np.float32(128.0)) * np.float32(1.0 / 128.0)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis, float32; shifted by the maximum, so large logits do not overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted, dtype=np.float32)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()
    return (line[0] if line else type(error).__name__)[:160]
