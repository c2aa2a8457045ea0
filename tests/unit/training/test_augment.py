from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featherlite.preprocess import network_input
from featherlite.training.augment import IDENTITY_AFFINE, IDENTITY_COLOR, LUMA, draw
from featherlite.training.config import FitConfig

OFF: dict[str, Any] = dict.fromkeys(
    ("rotate_deg", "zoom", "stretch", "shift", "brightness", "contrast", "saturation", "hue", "erase", "mixup"), 0.0
) | {"flip": False}


def config(**options: Any) -> FitConfig:
    return FitConfig(**(OFF | options))


def draws(settings: FitConfig, count: int = 400, seed: int = 0, height: int = 20, width: int = 30) -> Any:
    return draw(settings, np.random.default_rng(seed), count, height, width)


def applied(photos: NDArray[np.uint8], **inputs: Any) -> NDArray[np.float32]:
    from featherlite.training.trainee import Augment

    count = len(photos)
    given = {
        "photos": photos,
        "affine": np.tile(np.float32(IDENTITY_AFFINE), (count, 1)),
        "color": np.tile(np.float32(IDENTITY_COLOR), (count, 1, 1)),
    }
    return np.asarray(Augment()(given | inputs))


def noise(count: int = 2, height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("settings", [config(), FitConfig(augment=0.0, erase=1.0, mixup=1.0)])
def test_switched_off_it_changes_nothing(settings: FitConfig) -> None:
    drawn = draws(settings)
    np.testing.assert_allclose(drawn.affine, np.tile(np.float32(IDENTITY_AFFINE), (400, 1)), atol=1e-6)
    np.testing.assert_allclose(drawn.color, np.tile(np.float32(IDENTITY_COLOR), (400, 1, 1)), atol=1e-6)
    assert (drawn.box == 0).all()
    assert (drawn.share == 1).all()
    photos = noise()
    np.testing.assert_array_equal(applied(photos), network_input(photos))


def test_the_same_generator_gives_the_same_draws() -> None:
    first, again, other = (draws(FitConfig(erase=0.5, mixup=0.2), seed=seed) for seed in (1, 1, 2))
    for name in ("affine", "color", "box", "share"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_flip_mirrors_about_half_of_the_photos_exactly() -> None:
    drawn = draws(config(flip=True))
    mirrored = drawn.affine[:, 0] < 0
    assert 150 < mirrored.sum() < 250
    photos = noise()
    flipped = applied(photos, affine=drawn.affine[mirrored][:2])
    np.testing.assert_allclose(flipped, network_input(photos)[:, :, ::-1], atol=1e-5)


@pytest.mark.parametrize("option", ["rotate_deg", "zoom", "stretch"])
def test_the_center_stays_in_place(option: str) -> None:
    drawn = draws(config(**{option: 0.3}))
    x, y = 14.5, 9.5  # the middle of 30 x 20 pixels
    a = drawn.affine.astype(np.float64)
    np.testing.assert_allclose(a[:, 0] * x + a[:, 1] * y + a[:, 2], x, atol=1e-4)
    np.testing.assert_allclose(a[:, 3] * x + a[:, 4] * y + a[:, 5], y, atol=1e-4)
    assert np.ptp(a[:, :6], axis=0).max() > 0.004


def test_strengths_reach_their_limits_and_no_further() -> None:
    turned = draws(config(rotate_deg=30.0)).affine
    degrees = np.rad2deg(np.arctan2(turned[:, 3], turned[:, 4]))
    assert 28 < np.abs(degrees).max() <= 30.001
    zoomed = draws(config(zoom=0.5)).affine[:, 0]
    assert 1 / 1.5 - 1e-6 <= zoomed.min() < 0.7 < 1.4 < zoomed.max() <= 1.5 + 1e-6
    moved = draws(config(shift=0.1)).affine
    assert 2.8 < np.abs(moved[:, 2]).max() <= 3.001  # a tenth of 30 pixels
    assert 1.8 < np.abs(moved[:, 5]).max() <= 2.001
    light = draws(config(brightness=0.2)).color[:, 0, 0]
    assert 0.8 <= light.min() < 0.82
    assert 1.18 < light.max() <= 1.2 + 1e-6


def test_augment_multiplies_the_strengths() -> None:
    half, full = (draws(config(rotate_deg=20.0, augment=a)).affine for a in (0.5, 1.0))
    np.testing.assert_allclose(2 * np.arctan2(half[:, 3], half[:, 4]), np.arctan2(full[:, 3], full[:, 4]), atol=1e-6)


def test_brightness_multiplies_pixels_and_contrast_pivots_about_mid_grey() -> None:
    light = draws(config(brightness=0.5)).color
    for matrix in light[:5]:
        factor = matrix[0, 0]
        np.testing.assert_allclose(matrix[:, :3] @ np.full(3, -1.0) + matrix[:, 3], -1.0, atol=1e-6)  # black stays
        np.testing.assert_allclose(matrix[:, :3] @ np.zeros(3) + matrix[:, 3], factor - 1, atol=1e-6)
    contrast = draws(config(contrast=0.5)).color
    assert (contrast[:, :, 3] == 0).all()
    assert contrast[:, 0, 0].std() > 0.1


@pytest.mark.parametrize("option", ["saturation", "hue"])
def test_grey_stays_grey_and_colors_change(option: str) -> None:
    linear = draws(config(**{option: 0.5})).color[:, :, :3]
    np.testing.assert_allclose(linear @ np.full(3, 0.7), 0.7, atol=1e-5)
    assert np.abs(linear @ np.array([1.0, 0.0, 0.0]) - [1.0, 0.0, 0.0]).max() > 0.2
    if option == "saturation":
        np.testing.assert_allclose(LUMA @ linear, np.tile(LUMA, (400, 1)), atol=1e-5)  # perceived light is kept


def test_the_transform_is_pillows() -> None:
    """Bilinear resampling of a turned, zoomed photo agrees with Pillow's wherever the source lies inside."""
    photo = np.asarray(Image.fromarray(noise(1, 8, 8)[0]).resize((48, 40), Image.Resampling.BICUBIC))
    matrix = draws(config(rotate_deg=20.0, zoom=0.3, shift=0.05, flip=True), 6, height=40, width=48).affine
    ours = applied(np.repeat(photo[None], 6, axis=0), affine=matrix)
    for result, (a0, a1, a2, a3, a4, a5, _, _) in zip(ours, matrix.astype(np.float64), strict=True):
        # Pillow maps pixel centers (x + 0.5); ours maps pixel numbers.
        data = (a0, a1, a2 + 0.5 - 0.5 * (a0 + a1), a3, a4, a5 + 0.5 - 0.5 * (a3 + a4))
        theirs = Image.fromarray(photo).transform((48, 40), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        y, x = np.mgrid[0:40, 0:48]
        from_x, from_y = a0 * x + a1 * y + a2, a3 * x + a4 * y + a5
        inside = (from_x > 1) & (from_x < 46) & (from_y > 1) & (from_y < 38)
        assert inside.sum() > 500
        difference = np.abs(result * 128 + 128 - np.asarray(theirs, np.float64))[inside]
        assert difference.max() < 2.5  # Pillow works in 8-bit fixed point
        assert difference.mean() < 0.6


def test_erase_greys_one_rectangle() -> None:
    drawn = draws(config(erase=1.0), 50)
    area = (drawn.box[:, 2] - drawn.box[:, 0]) * (drawn.box[:, 3] - drawn.box[:, 1]) / 600
    assert (area > 0.015).all()
    assert (area < 0.2501).all()
    assert (drawn.box >= 0).all()
    assert (drawn.box <= [30, 20, 30, 20]).all()
    photos = np.full((1, 20, 30, 3), 255, np.uint8)
    seen = applied(photos, box=np.float32([[10, 5, 20, 15]]))
    assert (seen[0, 5:15, 10:20] == 0).all()
    assert (seen == 0).sum() == 10 * 10 * 3
    assert 20 < (draws(config(erase=0.1)).box[:, 2] > 0).sum() < 60  # about 40 of 400


def test_mixup_blends_with_the_partner() -> None:
    shares = draws(config(mixup=0.4)).share
    assert shares.min() >= 0.5
    assert shares.max() <= 1.0
    photos = np.stack([np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 128, np.uint8)])
    seen = applied(photos, share=np.float32([0.75, 1.0]))
    np.testing.assert_allclose(seen[0], -0.75)
    np.testing.assert_allclose(seen[1], 0.0)
