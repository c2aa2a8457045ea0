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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from featherlite.errors import DataError

__all__ = ["FORMATS", "PhotoError", "Preprocess", "decode", "network_input", "opened", "softmax", "to_rgb"]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What Pillow may open (JPEG covers phones' MPO). Named, so that a hostile file cannot choose an obscure decoder."""

MAX_PIXELS = 89_000_000
"""Photos with more pixels are refused from their header, before a byte of them is decoded (decompression bombs)."""

CUTOFF_DIVISOR = 100
"""Autocontrast gives up one value in so many at either end of the histogram."""

MIN_SPAN = 32
"""A photo whose levels span less than this is not stretched: what would grow is noise."""

OPTIONS = ("autocontrast", "denoise")
"""Fields that version 1 of the contract does not know. Written only where one is on."""
PLAIN = {"version": 1, **dict.fromkeys(OPTIONS, False)}

Pixels = NDArray[np.uint8]


class Preprocess(BaseModel):
    """How a photo becomes a model input. Stored in every bundle as preprocess.json.

    `fit` says how a photo that is not square becomes so: `crop` cuts the centre square, `squash` stretches the whole
    photo, `pad` keeps the whole photo and fills the rest with mid-grey (128, which is zero to the network).

    `denoise` and `autocontrast` change the pixels after that, in this order, in integers alone: what a device does to
    a frame of the input's size is then the same to the last bit. A contract with neither is of version 1 and looks as
    it always did; with one of them it is of version 2, which a reader that does not know them refuses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1, 2] = 1
    width: int = Field(96, ge=16, le=1024, description="input width in pixels")
    height: int = Field(96, ge=16, le=1024, description="input height in pixels")
    fit: Literal["crop", "squash", "pad"] = "crop"
    resample: Literal["bilinear_antialias"] = "bilinear_antialias"
    exif_orientation: Literal[True] = True
    channels: Literal["RGB"] = "RGB"
    offset: Literal[128] = 128
    scale: Literal[128] = 128
    denoise: bool = Field(False, description="the median of each pixel and its eight neighbors, channel by channel")
    autocontrast: bool = Field(False, description="levels stretched to 0..255, but for 1% of the values at either end")

    @model_validator(mode="before")
    @classmethod
    def _with_version(cls, value: Any) -> Any:
        """The version that the options ask for, where none is given."""
        if isinstance(value, dict) and "version" not in value and any(value.get(name) is True for name in OPTIONS):
            return value | {"version": 2}
        return value

    @model_validator(mode="after")
    def _of_this_version(self) -> Preprocess:
        if (self.version == 2) != (self.denoise or self.autocontrast):
            raise ValueError("version 2 is the one with denoise or autocontrast on, version 1 the one with neither")
        return self

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields of this version: a contract without options keeps the bytes, and so the hash, of version 1."""
        fields: dict[str, Any] = handler(self)
        return fields if self.version == 2 else {name: fields[name] for name in fields if name not in OPTIONS}

    def __call__(self, source: bytes | Path | Image.Image) -> Pixels:
        """One photo as the model wants it: uint8 [height, width, 3], RGB, 0..255.

        Raises:
            DataError: the source is not a photo that can be decoded in full.
        """
        image = source if isinstance(source, Image.Image) else decode(source)
        pixels = self.enhance(np.asarray(self._resized(image), dtype=np.uint8))
        return pixels if pixels.shape[:2] == (self.height, self.width) else self._padded(pixels)

    def enhance(self, pixels: Pixels) -> Pixels:
        """A resized photo with its noise reduced and its levels stretched, where asked: uint8 [h, w, 3] for the same.

        This is all that a device has to do to a camera's frame, if the frame has the input's size.
        """
        if self.denoise:
            pixels = median3x3(pixels)
        return stretched(pixels) if self.autocontrast else pixels

    @property
    def plain(self) -> Preprocess:
        """The same contract with neither option: its pixels, put through this one's `enhance`, are this one's.

        Of a photo with the bars of `pad`, those between the bars.
        """
        return Preprocess.model_validate({name: getattr(self, name) for name in type(self).model_fields} | PLAIN)

    def _resized(self, image: Image.Image) -> Image.Image:
        """The photo at the size it takes within (width, height): all of it, but for `pad`."""
        size = (self.width, self.height)
        if image.size == size:
            return image
        if self.fit == "squash":
            return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=None)
        if self.fit == "crop":
            return image.resize(size, Image.Resampling.BILINEAR, box=self._crop_box(*image.size))
        scale = min(self.width / image.width, self.height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(inner, Image.Resampling.BILINEAR)

    def _padded(self, pixels: Pixels) -> Pixels:
        canvas = np.full((self.height, self.width, 3), self.offset, np.uint8)
        top, left = (self.height - pixels.shape[0]) // 2, (self.width - pixels.shape[1]) // 2
        canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return canvas

    def _crop_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        # The short side is kept as it is: through a factor it could come out a rounding error too long.
        if width * self.height <= height * self.width:
            crop_width, crop_height = float(width), width * self.height / self.width
        else:
            crop_width, crop_height = height * self.width / self.height, float(height)
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        return (left, top, left + crop_width, top + crop_height)


def median3x3(pixels: Pixels) -> Pixels:
    """Each pixel's median with its eight neighbors, by channel: uint8 [h, w, 3] for the same; edges are repeated.

    Sorted in threes: the median of nine is the middle one of the largest low, the middle middle and the smallest high.

    Source: A. W. Paeth, "Median Finding on a 3x3 Grid" (Graphics Gems, 1990).
    """
    height = pixels.shape[0]
    wide = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    left, center, right = wide[:, :-2], wide[:, 1:-1], wide[:, 2:]
    low = np.minimum(np.minimum(left, center), right)
    middle = _middle(left, center, right)
    high = np.maximum(np.maximum(left, center), right)
    above, here, below = (slice(row, row + height) for row in range(3))
    return _middle(
        np.maximum(np.maximum(low[above], low[here]), low[below]),
        _middle(middle[above], middle[here], middle[below]),
        np.minimum(np.minimum(high[above], high[here]), high[below]),
    )


def _middle(a: Pixels, b: Pixels, c: Pixels) -> Pixels:
    return np.asarray(np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)), np.uint8)


def stretched(pixels: Pixels) -> Pixels:
    """The photo with its levels stretched to 0..255, all channels alike so that colors keep: uint8 [h, w, 3].

    Of its h x w x 3 values, `values // 100` may be cut off at either end. `low` is the lowest level at which more
    values than that lie at or below, `high` the highest at which more lie at or above. A level v becomes
    ((v - low) * 255 + (high - low) // 2) // (high - low), limited to 0..255; nothing changes where high - low < 32.
    """
    counts = np.bincount(pixels.ravel(), minlength=256)
    cut = pixels.size // CUTOFF_DIVISOR
    low = int(np.argmax(np.cumsum(counts) > cut))
    high = 255 - int(np.argmax(np.cumsum(counts[::-1]) > cut))
    span = high - low
    if span < MIN_SPAN:
        return pixels
    levels = np.clip(np.arange(256), low, high) - low
    return ((levels * 255 + span // 2) // span).astype(np.uint8)[pixels]


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
    with opened(source) as image:
        image.load()
        return to_rgb(_upright(image))


@contextmanager
def opened(source: bytes | Path) -> Iterator[Image.Image]:
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
