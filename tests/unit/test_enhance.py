"""The optional part of the contract: noise reduction and autocontrast, in integers that any device can follow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.preprocess import Preprocess, median3x3, stretched
from featherlite.step import Context

Pixels = NDArray[np.uint8]

VERSION_1 = (
    '{"version":1,"width":96,"height":96,"fit":"crop","resample":"bilinear_antialias","exif_orientation":true,'
    '"channels":"RGB","offset":128,"scale":128}'
)
"""preprocess.json as bundles have carried it from the first release on."""


def by_hand(pixels: Pixels, *, denoise: bool, autocontrast: bool) -> Pixels:
    """What docs/bundle.md says, one number at a time, as C or JavaScript would do it."""
    height, width, _ = pixels.shape
    source = pixels.tolist()
    if denoise:
        out = []
        for y in range(height):
            rows = [min(max(y + dy, 0), height - 1) for dy in (-1, 0, 1)]
            line = []
            for x in range(width):
                columns = [min(max(x + dx, 0), width - 1) for dx in (-1, 0, 1)]
                line.append([sorted(source[r][c][k] for r in rows for c in columns)[4] for k in range(3)])
            out.append(line)
        source = out
    if autocontrast:
        count = [0] * 256
        for value in (v for line in source for pixel in line for v in pixel):
            count[value] += 1
        cut = height * width * 3 // 100
        low, below = 0, count[0]
        while below <= cut:
            low += 1
            below += count[low]
        high, above = 255, count[255]
        while above <= cut:
            high -= 1
            above += count[high]
        span = high - low
        if span >= 32:
            table = [((min(max(v, low), high) - low) * 255 + span // 2) // span for v in range(256)]
            source = [[[table[v] for v in pixel] for pixel in line] for line in source]
    return np.array(source, np.uint8)


def noisy(height: int, width: int, seed: int = 0, low: int = 60, high: int = 180) -> Pixels:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3)).astype(np.uint8)


# ---- worked by hand ----------------------------------------------------------------------------------------------


def test_one_hot_pixel_vanishes_and_an_edge_stays() -> None:
    pixels = np.full((5, 6, 3), 50, np.uint8)
    pixels[:, 3:] = 200
    expected = pixels.copy()
    pixels[2, 1] = 255
    pixels[1, 4, 0] = 0
    np.testing.assert_array_equal(median3x3(pixels), expected)


def test_the_median_repeats_the_edge() -> None:
    line = np.array([[10, 90, 20, 80]], np.uint8)[..., None].repeat(3, axis=2)
    # Of (10, 10, 90) thrice the middle is 10; of (10, 90, 20) 20; of (90, 20, 80) 80; of (20, 80, 80) 80.
    assert median3x3(line)[0, :, 0].tolist() == [10, 20, 80, 80]


def test_the_example_of_the_documentation() -> None:
    """10 x 10 pixels: 300 values, of which 3 may be cut off at either end."""
    values = np.array([20] * 3 + [40] * 100 + [65] * 97 + [140] * 99 + [240], np.uint8)
    out = stretched(values.reshape(10, 10, 3)).ravel()
    assert [int(out[place]) for place in (0, 3, 103, 200, 299)] == [0, 0, 64, 255, 255]  # (25 * 255 + 50) // 100 = 64


def test_four_of_three_hundred_values_are_too_many_to_cut() -> None:
    values = np.array([20] * 4 + [100] * 292 + [220] * 4, np.uint8).reshape(10, 10, 3)
    assert np.unique(stretched(values)).tolist() == [0, 102, 255]  # (80 * 255 + 100) // 200 = 102


@pytest.mark.parametrize(("span", "changes"), [(31, False), (32, True), (0, False)])
def test_a_flat_photo_stays_as_it_is(span: int, changes: bool) -> None:
    values = np.full((10, 10, 3), 100, np.uint8)
    values[5:] = 100 + span
    assert (stretched(values) != values).any() == changes


def test_colors_keep_their_order_and_gray_stays_gray() -> None:
    gray = noisy(20, 20)[..., :1].repeat(3, axis=2)
    out = stretched(gray)
    assert (out == out[..., :1]).all()
    assert out.min() == 0
    assert out.max() == 255
    photo = noisy(20, 20)
    order = np.argsort(photo.reshape(-1), kind="stable")
    assert (np.diff(stretched(photo).reshape(-1)[order].astype(int)) >= 0).all()


# ---- against others ----------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 255), st.integers(1, 256), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_the_arrays_do_what_the_numbers_do(height: int, width: int, low: int, span: int, seed: int) -> None:
    pixels = noisy(height, width, seed, low, min(low + span, 256))
    for options in ({"denoise": True}, {"autocontrast": True}, {"denoise": True, "autocontrast": True}):
        wanted = by_hand(pixels, **({"denoise": False, "autocontrast": False} | options))
        np.testing.assert_array_equal(Preprocess(**options).enhance(pixels), wanted)


def test_the_median_is_pillows() -> None:
    pixels = noisy(37, 53, high=256)
    theirs = np.asarray(Image.fromarray(pixels).filter(ImageFilter.MedianFilter(3)))
    np.testing.assert_array_equal(median3x3(pixels), theirs)


# ---- as part of the contract -------------------------------------------------------------------------------------


def test_resize_then_denoise_then_stretch() -> None:
    image = Image.fromarray(noisy(60, 80, 4))
    plain = Preprocess(width=32, height=24)(image)
    contract = Preprocess(width=32, height=24, denoise=True, autocontrast=True)
    both = contract(image)
    assert contract.plain == Preprocess(width=32, height=24)
    np.testing.assert_array_equal(both, stretched(median3x3(plain)))
    assert not np.array_equal(both, median3x3(stretched(plain)))


def test_padding_is_neither_counted_nor_changed() -> None:
    image = Image.fromarray(noisy(24, 48, 1))
    contract = Preprocess(width=48, height=48, fit="pad", autocontrast=True, denoise=True)
    out = contract(image)
    assert (out[:12] == 128).all()
    assert (out[36:] == 128).all()
    np.testing.assert_array_equal(out[12:36], contract.enhance(np.asarray(image)))


def test_without_options_the_contract_keeps_its_bytes() -> None:
    assert Preprocess().model_dump_json() == VERSION_1
    assert json.dumps(Preprocess().model_dump(), separators=(",", ":")) == VERSION_1
    assert Preprocess.model_validate_json(VERSION_1) == Preprocess()
    digest = hashlib.sha256(VERSION_1.encode()).hexdigest()
    assert digest.startswith("01115c7f"), "an old bundle's preprocess.json would no longer be what its artefact carries"


@pytest.mark.parametrize("options", [{"denoise": True}, {"autocontrast": True}])
def test_with_an_option_it_is_of_version_2_and_survives_json(options: dict[str, Any]) -> None:
    contract = Preprocess(**options)
    document = json.loads(contract.model_dump_json())
    assert document["version"] == 2
    assert {name: document[name] for name in options} == options
    assert Preprocess.model_validate_json(contract.model_dump_json()) == contract
    assert contract != Preprocess()


@pytest.mark.parametrize(
    "wrong", [{"version": 2}, {"version": 1, "denoise": True}, {"version": 3}, {"autocontrast": "1%"}]
)
def test_a_version_that_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preprocess(**wrong)


def test_a_recipe_can_ask_for_it(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from featherlite.bundle import Label
    from featherlite.models.build import BuildConfig, build

    bundle = Bundle().with_labels((Label(name="jay"), Label(name="wren")))
    ctx = Context(seed=1, scratch=tmp_path, resume=tmp_path, cache=tmp_path)
    made = build(bundle, BuildConfig(width=0.5, input_px=32, denoise=True, autocontrast=True), ctx)
    assert made.preprocess == Preprocess(width=32, height=32, denoise=True, autocontrast=True)


def test_training_predictor_and_device_see_the_same_pixels(
    color_bundle: Bundle, make_context: Callable[[], Context], tmp_path: Path
) -> None:
    """From the decoded cache, from the artefact alone, and from the golden vectors, worked by hand."""
    from featherlite.data.photos import load_photos
    from featherlite.models.golden import read_golden
    from featherlite.quantize.quantize import QuantizeConfig, quantize
    from featherlite.runtime.predictor import Predictor

    contract = color_bundle.preprocess.model_dump() | {"version": 2, "denoise": True, "autocontrast": True}
    ctx = make_context()
    made = quantize(color_bundle.with_json("preprocess.json", contract), QuantizeConfig(photos=24), ctx)
    photos = load_photos(made, "test", ctx)
    (tmp_path / "model.tflite").write_bytes(made.read("exports/int8/model.tflite"))
    predictor = Predictor(tmp_path / "model.tflite")
    assert predictor.preprocess == made.preprocess
    assert ctx.data is not None
    for path, trained_on in zip(photos.paths, photos.images[:], strict=True):
        np.testing.assert_array_equal(predictor._prepared(ctx.data / path), trained_on)
        plain = np.asarray(Image.open(ctx.data / path))
        np.testing.assert_array_equal(trained_on, by_hand(plain, denoise=True, autocontrast=True))
    golden = read_golden(made.read("exports/int8/golden.npz"))
    assert golden.frames is not None
    for frame, wanted in zip(golden.frames, golden.inputs, strict=True):
        np.testing.assert_array_equal(by_hand(frame, denoise=True, autocontrast=True), wanted)
    assert not np.array_equal(golden.frames, golden.inputs)


def test_golden_vectors_of_version_1_hold_no_frames(quantized: Bundle) -> None:
    from featherlite.models.golden import read_golden

    assert read_golden(quantized.read("exports/int8/golden.npz")).frames is None
