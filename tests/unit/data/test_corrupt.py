"""Corruptions by their physics: values worked out by hand, sums of light, and what may never get brighter."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featherlite.data.corrupt import (
    SEVERITIES,
    Corruption,
    corrupt,
    corrupted_input,
    corruption,
    corruptions,
    generator_of,
    load_corruption,
)
from featherlite.data.corrupt._fields import clouds, convolve, disc, line, scattered
from featherlite.data.corrupt._light import Floats, decoded_light, encoded_light
from featherlite.data.corrupt.weather import AIRLIGHT
from featherlite.errors import RequestError
from featherlite.preprocess import Preprocess

Pixels = NDArray[np.uint8]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def of(name: str) -> Corruption:
    return load_corruption(name)


def flat(value: float, px: int = 64) -> NDArray[np.float32]:
    return np.full((px, px, 3), value, np.float32)


def photo(seed: int, height: int = 48, width: int = 64) -> Pixels:
    """Large lumps of color with grain on them."""
    made = rng(seed)
    lumps = Image.fromarray(made.integers(20, 236, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(lumps.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return np.clip(smooth + made.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def test_light_and_back_is_exact() -> None:
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for linear in (True, False):
        np.testing.assert_array_equal(encoded_light(decoded_light(every, linear), linear), every)
    assert decoded_light(np.uint8([[[188]]]), True)[0, 0, 0] == pytest.approx(0.5029, abs=1e-4)
    np.testing.assert_array_equal(encoded_light(np.float32([[[-1.0, 0.5, 9.0]]]), True), [[[0, 188, 255]]])


def test_convolution_is_the_sum_it_claims_to_be() -> None:
    image = rng().random((7, 9)).astype(np.float32)
    first, second = rng(1).random((3, 3)).astype(np.float32), rng(2).random((5, 5)).astype(np.float32)
    padded = np.pad(image, 2, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    by_hand = (windows * second[::-1, ::-1]).sum(axis=(2, 3))
    np.testing.assert_allclose(convolve(image, second), by_hand, rtol=1e-5)
    both = convolve(image, first, second)
    identity = np.zeros((3, 3), np.float32)
    identity[1, 1] = 1
    np.testing.assert_allclose(convolve(image, identity, second), by_hand, rtol=1e-5)
    assert both[3, 4] == pytest.approx(convolve(convolve(image, first), second)[3, 4], rel=1e-4)


def test_a_kernel_far_larger_than_the_photo_gives_its_mean() -> None:
    kernel = np.full((65, 65), 1 / 65**2, np.float32)
    image = rng().random((16, 16, 3)).astype(np.float32)
    # 65 pixels of a photo that repeats itself mirrored every 32: nearly its mean everywhere.
    np.testing.assert_allclose(convolve(image, kernel), np.broadcast_to(image.mean((0, 1)), image.shape), atol=0.02)


@pytest.mark.parametrize("radius", [1.0, 2.5, 8.0])
def test_a_disc_covers_its_area(radius: float) -> None:
    kernel = disc(radius)
    assert kernel.sum() == pytest.approx(np.pi * radius**2, rel=0.1)
    np.testing.assert_array_equal(kernel, kernel.T[::-1])
    assert disc(0.2).max() < 0.2, "what is smaller than a pixel covers a part of it"


def test_a_line_lies_where_its_angle_says() -> None:
    across = line(5, 0.0)
    rows, columns = np.nonzero(across > 0.01)
    assert set(rows) == {len(across) // 2}
    assert across.sum() == pytest.approx(5, abs=1e-5)
    assert (columns.min() + columns.max()) / 2 == len(across) // 2
    np.testing.assert_allclose(line(5, np.pi / 2), across.T, atol=1e-5)


def test_drops_stay_where_they_are_as_more_fall() -> None:
    few, many = scattered(rng(), (64, 96), 50), scattered(rng(), (64, 96), 200)
    assert (many >= few - 1e-6).all()
    # 50 in a square of 64, of which the photo is 1.5, and each 0.75 bright on average; a few leave the frame.
    assert few.sum() == pytest.approx(75 * 0.75, abs=22)
    assert many.sum() == pytest.approx(300 * 0.75, abs=45)


def test_clouds_are_centered_whatever_the_shape() -> None:
    for shape in ((16, 16), (16, 300), (97, 31)):
        field = clouds(rng(), shape)
        assert field.shape == shape
        assert (field.mean(), field.std()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))


def test_fog_runs_from_the_scene_to_the_airlight() -> None:
    scene = decoded_light(photo(0), True)
    np.testing.assert_array_equal(of("fog").function(scene, rng(), thickness=0.0), scene)
    whole = of("fog").function(scene, rng(), thickness=1e3)
    np.testing.assert_allclose(whole, np.broadcast_to(AIRLIGHT, scene.shape), atol=1e-6)
    half = of("fog").function(flat(0.0), rng(), thickness=0.5)[..., 0]
    assert half[:16].mean() > half[-16:].mean(), "the upper part is farther away"


def test_rain_and_snow_brighten_the_dark_where_they_fall() -> None:
    for name, count in (("rain", "streaks"), ("snow", "flakes")):
        one = of(name)
        strengths = one.at(3)
        dry = one.function(flat(0.05), rng(), **strengths | {count: 0.0})
        wet = one.function(flat(0.05), rng(), **strengths)
        assert dry.std(axis=(0, 1)).max() < 1e-4, "without drops there is but a veil"
        touched = (wet - dry).max(axis=2) > 0.02
        assert 0.01 < touched.mean() < 0.5
        assert (wet - dry).min() > -1e-4


def test_frost_grows_from_the_edges() -> None:
    scene = flat(0.1, 96)
    ice = np.abs(of("frost")(encoded_light(scene, True), 2, rng()).astype(int)[..., 2] - 89)
    middle, rim = ice[36:60, 36:60], np.concatenate([ice[:8].ravel(), ice[-8:].ravel()])
    assert rim.mean() > 8 * middle.mean() + 10


def test_low_light_keeps_the_share_of_light_it_states() -> None:
    for severity in SEVERITIES:
        strengths = of("low_light").at(severity)
        dark = of("low_light").function(flat(0.4, 128), rng(), **strengths)
        assert dark.mean() == pytest.approx(0.4 * strengths["exposure"], rel=0.02)
        assert dark.std() > 0


def test_noise_has_the_variance_of_shot_and_read_noise() -> None:
    noisy = of("sensor_noise").function(flat(0.3, 200), rng(), electrons=50.0, read=3.0)
    assert noisy.mean() == pytest.approx(0.3, abs=0.002)
    assert noisy.var() == pytest.approx(0.3 / 50 + (3 / 50) ** 2, rel=0.03)
    black = of("sensor_noise").function(flat(0.0, 200), rng(), electrons=50.0, read=3.0)
    assert black.std() == pytest.approx(3 / 50, rel=0.03)


def test_a_stop_doubles_the_light() -> None:
    scene = np.float32([[[0.1, 0.2, 0.7]]])
    doubled = of("overexposure").function(scene, rng(), stops=1.0)
    np.testing.assert_allclose(doubled, [[[0.2, 0.4, 1.4]]], rtol=1e-6)
    np.testing.assert_array_equal(encoded_light(doubled, True), [[[124, 170, 255]]])


def test_contrast_halved_halves_the_distance_from_the_mean() -> None:
    scene = np.float32([[[100, 0, 50], [200, 100, 50]]]) / 255
    half = of("contrast").function(scene, rng(), kept=0.5)
    np.testing.assert_allclose(half * 255, [[[125, 25, 50], [175, 75, 50]]], atol=1e-3)


def test_glare_adds_light_and_shadow_takes_it() -> None:
    scene = decoded_light(photo(1), True)
    assert (of("glare").function(scene, rng(), strength=1.0) > scene).all()
    shaded = of("shadow").function(scene, rng(), left=0.2)
    ratio = shaded.sum(axis=2) / scene.sum(axis=2)
    assert ratio.max() == pytest.approx(1.0, abs=0.02)
    assert ratio.min() == pytest.approx(0.2, abs=0.035)


def test_a_color_cast_is_a_gain_a_channel() -> None:
    gains = of("color_cast").function(flat(1.0), rng(), error=0.4)
    assert np.ptp(gains, axis=(0, 1)).max() == 0
    red, _, blue = gains[0, 0]
    assert abs(np.log(red / blue)) == pytest.approx(0.8, abs=1e-5)
    assert gains[0, 0].mean() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["defocus", "motion_blur"])
def test_a_blur_spreads_a_point_and_loses_no_light(name: str) -> None:
    point = np.zeros((65, 65, 3), np.float32)
    point[32, 32] = 1
    for severity in SEVERITIES:
        spread = of(name).function(point, rng(), **of(name).at(severity))
        assert spread[..., 0].sum() == pytest.approx(1.0, abs=1e-4)
        rows, columns = np.nonzero(spread[..., 0] > 1e-4)
        extent = np.hypot(rows - 32, columns - 32).max()
        length = 2 * of(name).at(severity)["radius"] if name == "defocus" else of(name).at(severity)["length"]
        assert extent == pytest.approx(length * 65 / 2, abs=1.3)


@pytest.mark.parametrize("name", ["defocus", "motion_blur", "zoom_blur", "pixelate", "contrast"])
def test_an_even_photo_has_nothing_to_blur(name: str) -> None:
    even = np.full((31, 50, 3), (17, 130, 251), np.uint8)
    assert np.abs(of(name)(even, 5, rng()).astype(int) - even).max() <= 1


def test_jpeg_is_what_pillow_writes() -> None:
    original = photo(2)
    content = io.BytesIO()
    Image.fromarray(original).save(content, "JPEG", quality=15, subsampling=2)
    np.testing.assert_array_equal(of("jpeg")(original, 3, rng()), np.asarray(Image.open(content)))


def test_pixelate_leaves_squares_of_their_mean() -> None:
    scene = decoded_light(photo(3, 32, 32), False)
    squares = of("pixelate").function(scene, rng(), kept=0.25)
    blocks = squares.reshape(8, 4, 8, 4, 3).transpose(0, 2, 1, 3, 4).reshape(64, 16, 3)
    assert np.ptp(blocks, axis=1).max() == 0
    means = scene.reshape(8, 4, 8, 4, 3).mean(axis=(1, 3)).reshape(64, 3)
    np.testing.assert_allclose(blocks[:, 0], means, atol=1.1 / 255)  # Pillow rounds twice, once an axis


def test_a_drop_of_water_turns_the_scene_upside_down() -> None:
    scene = flat(0.02, 96)
    scene[:48] = 0.8  # a bright sky over dark ground
    wet = of("wet_lens").function(scene, rng(3), drops=25)
    changed = np.abs(wet - scene).max(axis=2) > 0.2
    sky, ground = changed[:48], changed[48:]
    assert sky.any()
    assert ground.any()
    assert wet[:48][sky].mean() < wet[48:][ground].mean()


def test_dirt_only_darkens_a_bright_even_photo() -> None:
    white = np.full((96, 96, 3), 255, np.uint8)
    dirty = of("dirty_lens")(white, 3, rng())
    assert dirty.min() < 150
    assert np.median(dirty) > 180


def test_each_photo_is_drawn_for_itself() -> None:
    first, second = photo(4), photo(5)
    for name in ("rain", "sensor_noise", "shadow"):
        together = corrupt([first, second, first], name, 4, seed=7)
        alone = [corrupt([one], name, 4, seed=7)[0] for one in (first, second)]
        np.testing.assert_array_equal(together[0], alone[0])
        np.testing.assert_array_equal(together[1], alone[1])
        np.testing.assert_array_equal(together[2], alone[0])
        assert (corrupt([first], name, 4, seed=8)[0] != alone[0]).any()


def test_draws_differ_by_corruption_and_are_the_same_at_each_severity() -> None:
    one = photo(6)
    assert generator_of(one, "rain", 1).random() == generator_of(one.copy(), "rain", 1).random()
    assert generator_of(one, "rain", 1).random() != generator_of(one, "snow", 1).random()
    batch = np.stack([one, photo(7)])
    np.testing.assert_array_equal(corrupt(batch, "fog", 2, 0)[1], corrupt([photo(7)], "fog", 2, 0)[0])


def test_what_is_asked_wrongly_is_refused() -> None:
    good = photo(8)
    with pytest.raises(RequestError, match="no corruption 'fogg'") as caught:
        corrupt([good], "fogg", 3, 0)
    assert "fog" in caught.value.hint
    for severity in (0, 6, -1):
        with pytest.raises(RequestError, match="no severity"):
            corrupt([good], "fog", severity, 0)
    for bad in (good.astype(np.float32), good[..., 0], good[..., :2]):
        with pytest.raises(RequestError, match="A photo is uint8"):
            of("fog")(bad, 3, rng())
    with pytest.raises(RequestError, match="48 x 15 pixels"):
        of("fog")(photo(9, 15, 48), 3, rng())


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(90, 40), (40, 90), (64, 64)])
def test_a_corruption_that_does_nothing_leaves_the_networks_input(fit: Any, size: tuple[int, int]) -> None:
    """So what is reduced and stretched is the photo alone, not the bars that `pad` adds."""

    @corruption(family="train", kind="file", linear=False, none=(1, 2, 3, 4, 5))
    def nothing(scene: Floats, rng: np.random.Generator, *, none: float) -> Floats:
        return scene

    image = Image.fromarray(photo(5, *size) // 2 + 40)
    for options in ({}, {"denoise": True}, {"denoise": True, "autocontrast": True}):
        contract = Preprocess(width=48, height=48, fit=fit, **options)
        made = corrupted_input(contract.plain(image), nothing, 3, 0, contract)
        np.testing.assert_array_equal(made, contract(image))


def test_bars_stay_as_they_are_and_gray_photos_are_photos() -> None:
    contract = Preprocess(width=48, height=48, fit="pad")
    plain = contract.plain(Image.fromarray(photo(6, 40, 80)))
    made = corrupted_input(plain, of("overexposure"), 5, 0, contract)
    assert (made[:12] == 128).all()
    assert (made[36:] == 128).all()
    assert made[12:36].mean() > plain[12:36].mean() + 20
    gray = np.full((48, 48, 3), 128, np.uint8)
    assert (corrupted_input(gray, of("overexposure"), 5, 0, contract) == 255).all()


def test_listing_names_trained_families_first() -> None:
    families = [one.family for one in corruptions().values()]
    assert families == sorted(families, key=["train", "held_out"].index)
    assert list(corruptions()) == [one.name for one in corruptions().values()]
