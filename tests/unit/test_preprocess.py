from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from featherlite.data.look import look
from featherlite.errors import DataError
from featherlite.preprocess import FORMATS, PhotoError, Preprocess, decode, network_input, softmax, to_rgb


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


# ---- geometry, worked by hand ------------------------------------------------------------------------------------


def test_a_photo_of_the_right_size_stays_as_it_is() -> None:
    image = random_image(40, 24)
    for fit in ("crop", "squash", "pad"):
        out = Preprocess(width=40, height=24, fit=fit)(image)  # type: ignore[arg-type]
        np.testing.assert_array_equal(out, np.asarray(image))


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((60, 20), np.s_[:, 20:40]),
        ((20, 60), np.s_[20:40, :]),
        ((22, 20), np.s_[:, 1:21]),
    ],
)
def test_crop_cuts_the_center_without_resampling_where_the_short_side_fits(size: tuple[int, int], kept: Any) -> None:
    image = random_image(*size)
    np.testing.assert_array_equal(Preprocess(width=20, height=20)(image), np.asarray(image)[kept])


def test_crop_of_an_odd_margin_lies_half_a_pixel_in_and_mixes_neighbors_evenly() -> None:
    columns = np.arange(21, dtype=np.uint8) * 10
    image = Image.fromarray(np.broadcast_to(columns[None, :, None], (20, 21, 3)).copy())
    row = Preprocess(width=20, height=20)(image)[0, :, 0]
    np.testing.assert_array_equal(row, np.arange(20) * 10 + 5)


def test_crop_keeps_the_shape_of_an_input_that_is_not_square() -> None:
    image = random_image(80, 80)  # 40 x 20 wanted: the middle 80 x 40, halved
    halved = image.crop((0, 20, 80, 60)).resize((40, 20), Image.Resampling.BILINEAR)
    out = Preprocess(width=40, height=20)(image)
    np.testing.assert_array_equal(out[1:-1], np.asarray(halved)[1:-1])  # at the cut the filter sees what lies beyond


def test_crop_boxes_never_leave_the_photo() -> None:
    for out in ((96, 96), (23, 16), (128, 96), (17, 31)):
        contract = Preprocess(width=out[0], height=out[1])
        for width in range(1, 120):
            for height in (1, 19, 77, 120):
                left, top, right, bottom = contract._crop_box(width, height)
                assert 0 <= left < right <= width
                assert 0 <= top < bottom <= height
                assert (right - left) * out[1] == pytest.approx((bottom - top) * out[0])


def test_halving_weighs_1_3_3_1() -> None:
    line = np.zeros((32, 64, 3), np.uint8)
    line[:, 20] = 80
    row = Preprocess(width=32, height=32, fit="squash")(Image.fromarray(line))[0, :, 0]
    assert row[9:12].tolist() == [10, 30, 0]  # columns 19..22 feed output 10 with 1, 3, 3, 1; 17..20 feed 9


def test_pad_keeps_the_whole_photo_between_mid_gray_bars() -> None:
    image = Image.new("RGB", (200, 100), (10, 20, 30))
    out = Preprocess(width=96, height=96, fit="pad")(image)
    assert np.unique(out[24:72].reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]
    assert np.unique(np.concatenate([out[:24], out[72:]])).tolist() == [128]
    tall = Preprocess(width=96, height=96, fit="pad")(image.transpose(Image.Transpose.ROTATE_90))
    np.testing.assert_array_equal(tall, out.transpose(1, 0, 2))


def test_squash_keeps_every_corner() -> None:
    image = Image.new("RGB", (300, 100))
    for corner, shade in (((0, 0), 50), ((200, 0), 100), ((0, 67), 150), ((200, 67), 200)):
        image.paste((shade,) * 3, (*corner, corner[0] + 100, corner[1] + 33))
    out = Preprocess(width=48, height=48, fit="squash")(image)
    assert [out[0, 0, 0], out[0, -1, 0], out[-1, 0, 0], out[-1, -1, 0]] == [50, 100, 150, 200]


@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(16, 50), st.integers(16, 50),
    st.sampled_from(["crop", "squash", "pad"]), st.integers(0, 255),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_plain_photo_of_any_size_stays_plain(
    width: int, height: int, out_width: int, out_height: int, fit: Any, shade: int
) -> None:
    image = Image.new("RGB", (width, height), (shade, 255 - shade, 7))
    out = Preprocess(width=out_width, height=out_height, fit=fit)(image)
    assert out.shape == (out_height, out_width, 3)
    colors = {tuple(color) for color in out.reshape(-1, 3).tolist()}
    assert (shade, 255 - shade, 7) in colors
    assert colors <= {(shade, 255 - shade, 7)} | ({(128, 128, 128)} if fit == "pad" else set())


@given(st.integers(2, 60), st.integers(2, 60), st.sampled_from(["crop", "squash", "pad"]), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_mirroring_before_or_after_is_the_same(width: int, height: int, fit: Any, seed: int) -> None:
    contract = Preprocess(width=32, height=32, fit=fit)
    image = random_image(width, height, seed)
    mirrored = contract(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[:, ::-1]
    out = contract(image).astype(int)
    if fit == "pad" and (32 - max(1, round(width * min(32 / width, 32 / height)))) % 2:
        return  # an odd rest of columns cannot lie evenly
    assert np.abs(out - mirrored).max() <= 1


# ---- numbers -----------------------------------------------------------------------------------------------------


def test_the_network_sees_exactly_pixel_minus_128_over_128() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    seen = network_input(pixels)
    assert seen.dtype == np.float32
    assert seen[[0, 128, 255]].tolist() == [-1.0, 0.0, 127 / 128]
    np.testing.assert_array_equal(seen * np.float32(128), pixels.astype(np.int32) - 128)
    int8 = (pixels.astype(np.int16) - 128).astype(np.int8)  # what a device feeds: scale 1/128, zero point 0
    np.testing.assert_array_equal(int8.astype(np.float32) * np.float32(1 / 128), seen)
    np.testing.assert_array_equal(int8.view(np.uint8), pixels ^ 0x80)


def test_softmax_sums_to_one_and_does_not_overflow() -> None:
    out = softmax(np.array([[0, np.log(3)], [1000, 1000], [-1000, 1000]], np.float32))
    np.testing.assert_allclose(out, [[0.25, 0.75], [0.5, 0.5], [0, 1]], atol=1e-6)
    assert out.dtype == np.float32


# ---- the contract as data ----------------------------------------------------------------------------------------


def test_the_contract_survives_json() -> None:
    contract = Preprocess(width=128, height=96, fit="pad")
    assert Preprocess.model_validate_json(contract.model_dump_json()) == contract


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 15},
        {"height": 1025},
        {"fit": "stretch"},
        {"version": 2},
        {"offset": 127},
        {"channels": "BGR"},
        {"x": 1},
    ],
)
def test_a_contract_that_is_not_kept_here_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preprocess(**wrong)


# ---- decoding ----------------------------------------------------------------------------------------------------


def test_bytes_path_and_image_give_the_same_pixels(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    random_image(50, 40).save(file, quality=90)
    contract = Preprocess(width=32, height=32)
    for other in (file.read_bytes(), decode(file)):
        np.testing.assert_array_equal(contract(file), contract(other))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_allowed_format_is_read(tmp_path: Path, kind: str) -> None:
    random_image(50, 40).save(tmp_path / "photo", kind)
    assert decode(tmp_path / "photo").size == (50, 40)
    look((tmp_path / "photo").read_bytes())


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "PDF"])
def test_every_other_format_is_refused(tmp_path: Path, kind: str) -> None:
    random_image(48, 48).save(tmp_path / "photo.jpg", kind)
    with pytest.raises(PhotoError, match="not an image in a known format"):
        decode(tmp_path / "photo.jpg")


def test_refusals_name_the_file_and_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, reason in {"empty.jpg": "empty", "none.jpg": "missing", ".": "damaged"}.items():
        with pytest.raises(DataError, match=name) as caught:
            decode(tmp_path / name)
        assert isinstance(caught.value, PhotoError)
        assert caught.value.reason == reason
        assert caught.value.hint


def test_modes_become_rgb() -> None:
    for mode in ("1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"):
        image = to_rgb(Image.new("L", (3, 2), 255).convert(mode) if mode != "I;16" else Image.new(mode, (3, 2), 65535))
        assert (image.mode, image.size) == ("RGB", (3, 2))
        assert np.asarray(image).min() >= 253, mode


def test_deep_gray_that_is_not_a_number_is_black() -> None:
    values = np.array([[np.nan, np.inf, -5, 255]], np.float32)
    assert np.asarray(to_rgb(Image.fromarray(values)))[0, :, 0].tolist()[0] == 0
