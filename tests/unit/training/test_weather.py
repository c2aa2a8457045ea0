"""Weather and camera faults in training."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featherlite.training.augment.config import ALL_OFF, WEATHER
from featherlite.training.config import FitConfig

Floats = NDArray[np.float32]


def scene(count: int = 4, height: int = 48, width: int = 64) -> Floats:
    """Smooth colored waves with an edge in them: encoded light float32 [n, h, w, 3] in 0..1."""
    y, x = np.mgrid[:height, :width]
    waves = [0.5 + 0.3 * np.sin(x / (3 + c)) * np.cos(y / (4 + c)) for c in range(3)]
    light = np.stack(waves, -1)
    light[height // 3 : height // 2, width // 4 : width // 2] = (0.9, 0.2, 0.3)
    return np.repeat(light[None].astype(np.float32), count, axis=0)


def through(kind: str, light: Floats, strength: float, seed: int = 0) -> Floats:
    from featherlite.training.augment.weather import load_kind

    free = np.random.default_rng(seed).random((len(light), 4), np.float32)
    seen = np.asarray(load_kind(kind)(light, np.full(len(light), strength, np.float32), free))
    assert seen.shape == light.shape
    assert seen.dtype == np.float32
    return seen


@pytest.mark.parametrize("kind", WEATHER)
def test_a_stronger_kind_leaves_less_of_the_photo(kind: str) -> None:
    light = scene()
    weak, strong = (np.abs(through(kind, light, strength) - light).mean() for strength in (0.0, 1.0))
    assert 0.001 < weak < 0.15
    assert strong > 1.5 * weak


@pytest.mark.parametrize("kind", WEATHER)
def test_what_a_kind_does_hangs_on_its_numbers_alone(kind: str) -> None:
    light = scene(2)
    one, again, other = (through(kind, light, 0.6, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    if kind in ("defocus", "jpeg"):  # which draw nothing but their strength
        np.testing.assert_array_equal(one, other)
    else:
        assert not np.allclose(one, other, atol=1e-3)
        assert not np.allclose(one[0], one[1], atol=1e-3)  # the same photo twice, under numbers of its own


@pytest.mark.parametrize("kind", WEATHER)
@pytest.mark.parametrize("size", [(16, 16), (33, 50)])
def test_every_size_of_input_goes(kind: str, size: tuple[int, int]) -> None:
    seen = through(kind, scene(2, *size), 1.0)
    assert np.isfinite(seen).all()


@pytest.mark.parametrize("kind", WEATHER)
def test_a_kind_can_be_compiled(kind: str) -> None:
    """Traced alone, which is quick: a train step with all nine takes seconds to compile."""
    import tensorflow as tf

    from featherlite.training.augment.weather import load_kind

    shapes = [tf.TensorSpec(shape, tf.float32) for shape in ((None, 16, 24, 3), (None,), (None, 4))]
    traced = tf.function(load_kind(kind)).get_concrete_function(*shapes)
    assert traced.structured_outputs.shape.as_list() == [None, 16, 24, 3]


def test_fog_fades_to_airlight_and_more_so_above() -> None:
    black = np.zeros((40, 48, 64, 3), np.float32)
    air = through("fog", black, 1.0)
    assert air[:, :10].mean() > air[:, -10:].mean() + 0.05
    contrast = through("fog", scene(), 1.0).std() / scene().std()
    assert contrast < 0.75


def test_snow_whitens_the_dark_where_it_falls() -> None:
    """On black there is the veil, 0.32 of the airlight, and flakes over it: whole ones, by a third more than it."""
    from featherlite.training.augment.weather.snow import AIRLIGHT, FLAKE_LIGHT

    black = np.zeros((8, 64, 64, 3), np.float32)
    fallen = {strength: np.square(through("snow", black, strength)[..., 0]) for strength in (0.0, 0.5, 1.0)}
    touched = []
    for strength, veil in ((0.0, 0.04), (0.5, (0.04 * 0.32) ** 0.5), (1.0, 0.32)):
        light = fallen[strength]
        np.testing.assert_allclose(light.min(), veil * AIRLIGHT, rtol=1e-3)
        assert light.max() < FLAKE_LIGHT
        touched.append(np.mean(light > veil * AIRLIGHT + 0.02))
    assert 0.01 < touched[0] < 0.12
    assert 0.2 < touched[2] < 0.6
    assert touched == sorted(touched)
    # Anywhere, not on a grid: over photos, rows and columns are covered about alike.
    cover = np.square(through("snow", np.zeros((64, 48, 48, 3), np.float32), 1.0)[..., 0]).mean(axis=0)
    assert cover.mean(axis=0).std() < 0.1 * cover.mean()
    assert cover.mean(axis=1).std() < 0.1 * cover.mean()


def test_glare_adds_light_and_most_of_it_above() -> None:
    light = scene(8) * 0.5
    added = np.square(through("glare", light, 0.5)) - np.square(light)
    assert added.min() > 0
    assert added[:, :12].mean() > 1.5 * added[:, -12:].mean()
    assert (added.mean(axis=(1, 2)) @ np.float32([1, 0, -1]) > 0).all()  # sunlight is warm


def test_low_light_keeps_its_exposure() -> None:
    white = np.ones((4, 32, 32, 3), np.float32)
    for strength, exposure in ((0.0, 0.5), (1.0, 0.04)):
        assert np.square(through("low_light", white, strength)).mean() == pytest.approx(exposure, rel=0.02)


def test_sensor_noise_grows_with_the_root_of_the_light() -> None:
    def deviation(level: float) -> float:
        flat = np.full((4, 64, 64, 3), level**0.5, np.float32)
        return float(np.square(through("sensor_noise", flat, 0.0)).std())

    assert deviation(0.64) == pytest.approx((0.64 / 900 + (3 / 900) ** 2) ** 0.5, rel=0.03)
    assert deviation(0.64) / deviation(0.16) == pytest.approx(2, rel=0.05)


def test_the_hashed_noise_is_nearly_normal_and_of_no_pattern() -> None:
    from featherlite.training.augment.weather._light import normal, uniform

    values = np.asarray(normal(np.arange(4, dtype=np.int32), (64, 64, 3)))
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1, abs=0.01)
    assert np.mean(np.abs(values) < 1) == pytest.approx(0.683, abs=0.02)
    for one, other in ((values[:, 1:], values[:, :-1]), (values[..., 1:], values[..., :-1]), (values[1:], values[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01
    counts = np.histogram(np.asarray(uniform(np.arange(100_000, dtype=np.int32))), 10, (0, 1))[0]
    np.testing.assert_allclose(counts, 10_000, rtol=0.05)


def test_the_hash_is_murmurs() -> None:
    """Worked with Python's integers of any length."""
    from featherlite.training.augment.weather._light import hashed

    def finalized(h: int) -> int:
        h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        return h ^ (h >> 16)

    keys = np.array([0, 1, 7, -1, 2**31 - 1, -(2**31), 123456789], np.int32)
    ours = np.asarray(hashed(keys)).astype(np.uint32)
    assert ours.tolist() == [finalized(int(key) & 0xFFFFFFFF) for key in keys]


def test_motion_smears_along_its_path_alone() -> None:
    from featherlite.training.augment.weather import load_kind

    stripes = np.zeros((1, 48, 48, 3), np.float32)
    stripes[:, 20:28] = 1  # across the picture: motion along them changes nothing
    still = np.float32([[0, 0, 0, 0]])
    along = np.asarray(load_kind("motion_blur")(stripes, np.ones(1, np.float32), still))
    np.testing.assert_allclose(along, stripes, atol=1e-3)
    point = np.zeros((1, 48, 48, 3), np.float32)
    point[:, 24, 24] = 1
    path = np.square(np.asarray(load_kind("motion_blur")(point, np.ones(1, np.float32), still))[0, 24, :, 0])
    assert path.sum() == pytest.approx(1, abs=0.01)
    assert np.count_nonzero(path > 0.05) == pytest.approx(0.17 * 48, abs=2)


def test_defocus_spreads_a_point_over_a_disc() -> None:
    from featherlite.training.augment.weather import load_kind

    point = np.zeros((2, 65, 65, 3), np.float32)
    point[:, 32, 32] = 1
    seen = np.asarray(load_kind("defocus")(point, np.float32([0, 1]), np.zeros((2, 4), np.float32)))
    spread = np.square(seen[..., 0])
    np.testing.assert_allclose(spread.sum(axis=(1, 2)), 1, rtol=1e-3)
    assert spread[0].max() > spread[1].max()
    radius = 0.04 * 65
    y, x = np.nonzero(spread[1] > 1e-6)
    assert np.hypot(y - 32, x - 32).max() <= radius + 0.5
    assert spread[1].max() == pytest.approx(1 / (np.pi * radius**2), rel=0.1)


@pytest.mark.parametrize("quality", [10, 50, 80])
def test_jpeg_is_pillows(quality: int) -> None:
    from featherlite.training.augment.weather.jpeg import compressed

    light = scene(1, 48, 64)
    pixels = np.round(light[0] * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(stream), np.float32)
    ours = np.asarray(compressed(pixels[None].astype(np.float32) / 255, np.float32([quality])))[0] * 255
    assert np.abs(ours - theirs).mean() < 1.5
    assert np.abs(ours - theirs).mean() < 0.4 * np.abs(theirs - pixels).mean() + 0.6


# ---- which photos ------------------------------------------------------------------------------------------------


def changed(count: int, share: float, kinds: tuple[Any, ...] = WEATHER, seed: int = 0) -> NDArray[np.bool_]:
    """Which of `count` equal photos come out otherwise."""
    from featherlite.training.augment.weather import COLUMNS, under_weather

    photos = scene(1, 16, 16) * 2 - 1
    photos = np.repeat(photos, count, axis=0)
    drawn = np.random.default_rng(seed).random((count, COLUMNS), np.float32)
    seen = np.asarray(under_weather(photos, drawn, share, kinds))
    different = np.abs(seen - photos).max(axis=(1, 2, 3)) > 1e-6
    np.testing.assert_array_equal(seen[~different], photos[~different])
    return np.asarray(different)


@pytest.mark.parametrize(("count", "share"), [(32, 0.3), (7, 0.5), (7, 1.0), (2, 0.2), (16, 1.0), (1, 1.0)])
def test_the_share_is_kept_on_average(count: int, share: float) -> None:
    rounds = 12 if share < 1 else 1
    found = np.stack([changed(count, share, ("defocus",), seed) for seed in range(rounds)])
    expected = (count * rounds * share * (1 - share)) ** 0.5
    assert abs(found.sum() - count * rounds * share) <= 3 * expected
    if share < 1:
        assert found.any(axis=0).mean() > 0.9  # any photo of a batch can be met


def test_a_batch_meets_several_kinds() -> None:
    """Groups of four share a kind; photos that are left alone are left to the last bit."""
    from featherlite.training.augment.weather import COLUMNS, load_kind, under_weather

    photos = scene(12, 16, 16) * 2 - 1
    drawn = np.random.default_rng(3).random((12, COLUMNS), np.float32)
    drawn[:, 0] = np.arange(12) / 12  # in order
    drawn[:, 2] = np.repeat([0.1, 0.9, 0.1], 4)
    seen = np.asarray(under_weather(photos, drawn, 1.0, ("fog", "jpeg")))
    for first, kind in ((0, "fog"), (4, "jpeg"), (8, "fog")):
        rows = slice(first, first + 4)
        light = (photos[rows] + 1) * (128 / 255)
        alone = np.asarray(load_kind(kind)(light, drawn[rows, 3], drawn[rows, 4:]))
        np.testing.assert_allclose(seen[rows], np.clip(alone, 0, 1) * (255 / 128) - 1, atol=1e-5)


def test_it_trains_in_a_compiled_step_and_can_be_drawn_again() -> None:
    from featherlite.training.batches import Batches
    from featherlite.training.trainee import compile_for, trainee_of

    from .conftest import colored_photos, tiny_network

    photos = colored_photos(10, 0)
    weather = {"weather": 0.5, "weather_kinds": ("low_light", "sensor_noise")}  # each kind is compiled elsewhere
    options = ALL_OFF | weather | {"randaugment": 1, "perspective": 0.1, "cutmix": 1.0, "mixup": 0.2, "batch": 4}
    config = FitConfig(**options)
    network = tiny_network()
    model = trainee_of(network, config)
    compile_for(model, config, np.full(10, 1e-3, np.float32))

    def batches() -> Batches:
        return Batches(photos.images, photos.labels, 3, config, seed=1, epoch=1, augmented=True)

    history = model.fit(batches(), epochs=1, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0])
    inputs, wanted = batches()[1]
    again, wanted_again = batches()[1]
    assert set(inputs) == {"photos", "affine", "color", "points", "weather", "cut", "share"}
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, again[name])
    np.testing.assert_array_equal(wanted, wanted_again)
    np.testing.assert_allclose(wanted.sum(axis=1), 1, rtol=1e-6)
    seen, seen_again = (np.asarray(model.get_layer("augment")(one)) for one in (inputs, again))
    np.testing.assert_array_equal(seen, seen_again)
