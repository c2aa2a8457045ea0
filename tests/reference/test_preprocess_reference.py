"""The preprocessing against an independent triangle filter in NumPy, and against TensorFlow's image operations."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featherlite.preprocess import Preprocess, decode

SIZES = [(227, 227, 96, 96), (224, 160, 96, 96), (61, 200, 48, 64), (40, 30, 96, 80), (97, 96, 96, 96), (17, 5, 32, 32)]


def smooth_photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Waves, edges and noise: uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    channels = [
        127 + 90 * np.sin(x / 7.3 + c) * np.cos(y / (5.1 + c)) + random.normal(0, 12, x.shape) for c in range(3)
    ]
    photo = np.stack(channels, -1)
    photo[height // 3 : height // 2, width // 4 : width // 2] = (255, 0, 90)
    return np.clip(photo, 0, 255).astype(np.uint8)


def triangle_matrix(size: int, low: float, high: float, out: int) -> NDArray[np.float64]:
    """Weights [out, size] of a triangle filter that is widened where the picture shrinks; rows sum to 1."""
    scale = (high - low) / out
    reach = max(scale, 1.0)
    centers = low + (np.arange(out) + 0.5) * scale
    distance = np.abs(np.arange(size)[None, :] + 0.5 - centers[:, None]) / reach
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def reference(photo: NDArray[np.uint8], width: int, height: int, fit: str) -> NDArray[np.float64]:
    """What the contract says, in floating point: float64 [height, width, 3]."""
    rows, columns = photo.shape[:2]
    left, top, right, bottom = 0.0, 0.0, float(columns), float(rows)
    if fit == "crop":
        scale = min(columns / width, rows / height)
        left, right = (columns - width * scale) / 2, (columns + width * scale) / 2
        top, bottom = (rows - height * scale) / 2, (rows + height * scale) / 2
    if fit == "pad":
        scale = min(width / columns, height / rows)
        inner = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        canvas = np.full((height, width, 3), 128.0)
        x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas[y : y + inner[1], x : x + inner[0]] = reference(photo, *inner, "squash")
        return canvas
    across = triangle_matrix(columns, left, right, width)
    down = triangle_matrix(rows, top, bottom, height)
    return np.einsum("yr,rcn,xc->yxn", down, photo.astype(np.float64), across, optimize=True)


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_a_triangle_filter_within_one_level(size: tuple[int, int, int, int], fit: Any) -> None:
    width, height, out_width, out_height = size
    photo = smooth_photo(width, height)
    out = Preprocess(width=out_width, height=out_height, fit=fit)(Image.fromarray(photo)).astype(float)
    difference = np.abs(out - reference(photo, out_width, out_height, fit))
    assert difference.max() <= 1.0
    assert difference.mean() <= 0.35


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed (extra 'train')")


@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_tensorflows_with_antialias_within_one_level(
    size: tuple[int, int, int, int], tensorflow: Any
) -> None:
    width, height, out_width, out_height = size
    photo = smooth_photo(width, height)
    out = Preprocess(width=out_width, height=out_height, fit="squash")(Image.fromarray(photo)).astype(float)
    theirs = tensorflow.image.resize(photo, (out_height, out_width), antialias=True).numpy()
    assert np.abs(out - theirs).max() <= 1.0


def test_jpegs_decode_as_in_tensorflow_with_its_accurate_method(tensorflow: Any) -> None:
    stream = io.BytesIO()
    Image.fromarray(smooth_photo(123, 77)).save(stream, "JPEG", quality=85)
    theirs = tensorflow.io.decode_jpeg(stream.getvalue(), channels=3, dct_method="INTEGER_ACCURATE").numpy()
    np.testing.assert_array_equal(np.asarray(decode(stream.getvalue())), theirs)


def test_real_photos_agree_with_the_triangle_filter() -> None:
    base = Path(os.environ.get("FEATHERLITE_TEST_DATA", "../shared/data"))
    files = [file for folder in ("flowers", "birds") for file in sorted((base / folder).rglob("*.jpg"))[::200]]
    if not files:
        pytest.skip(f"no photos under {base.resolve()}: set FEATHERLITE_TEST_DATA")
    for file in files:
        out = Preprocess()(file).astype(float)
        assert np.abs(out - reference(np.asarray(decode(file)), 96, 96, "crop")).max() <= 1.0, file
