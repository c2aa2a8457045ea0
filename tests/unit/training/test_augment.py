from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featherlite.preprocess import network_input
from featherlite.training.augment.config import ALL_OFF
from featherlite.training.augment.draws import draw
from featherlite.training.config import FitConfig

IDENTITY_AFFINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
IDENTITY_COLOR = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
LUMA = np.array([0.299, 0.587, 0.114])


ON: dict[str, Any] = {
    "erase": 1.0,
    "mixup": 1.0,
    "cutmix": 1.0,
    "perspective": 0.4,
    "randaugment": 2,
    "weather": 1.0,
}


def config(**options: Any) -> FitConfig:
    return FitConfig(**(ALL_OFF | options))


def draws(settings: FitConfig, count: int = 400, seed: int = 0, height: int = 20, width: int = 30) -> Any:
    from featherlite.training.augment.draws import draw

    return SimpleNamespace(**draw(settings, np.random.default_rng(seed), count, height, width))


def applied(photos: NDArray[np.uint8], settings: FitConfig | None = None, **inputs: Any) -> NDArray[np.float32]:
    from featherlite.training.augment.layer import Augment

    count = len(photos)
    given = {
        "photos": photos,
        "affine": np.tile(np.float32(IDENTITY_AFFINE), (count, 1)),
        "color": np.tile(np.float32(IDENTITY_COLOR), (count, 1, 1)),
    }
    return np.asarray(Augment(settings)(given | inputs))


def noise(count: int = 2, height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("settings", [config(), FitConfig(augment=0.0, **ON)])
def test_switched_off_it_changes_nothing(settings: FitConfig) -> None:
    drawn = draws(settings)
    np.testing.assert_allclose(drawn.affine, np.tile(np.float32(IDENTITY_AFFINE), (400, 1)), atol=1e-6)
    np.testing.assert_allclose(drawn.color, np.tile(np.float32(IDENTITY_COLOR), (400, 1, 1)), atol=1e-6)
    assert set(vars(drawn)) == {"affine", "color"}
    photos = noise()
    np.testing.assert_array_equal(applied(photos), network_input(photos))


def test_the_same_generator_gives_the_same_draws() -> None:
    first, again, other = (draws(FitConfig(**ON), seed=seed) for seed in (1, 1, 2))
    for name in ("affine", "color", "points", "weather", "box", "cut", "share"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_the_draws_are_those_of_the_first_release() -> None:
    """Worked by hand from the numbers of the generator, in the order in which they were always drawn."""
    drawn = draws(FitConfig(erase=0.5, mixup=0.4), 3, seed=7)
    rng = np.random.default_rng(7)
    mirror = np.where(rng.random(3) < 0.5, -1, 1)
    turn, zoom, stretch, right, down = (rng.uniform(-1, 1, 3) for _ in range(5))
    angle, zoom, stretch = np.deg2rad(20 * turn), 1.45**zoom, 1.15 ** (stretch / 2)
    a0, a1 = mirror * np.cos(angle) / (zoom * stretch), -np.sin(angle) / (zoom * stretch)
    np.testing.assert_allclose(drawn.affine[:, 0], a0, rtol=1e-6)
    np.testing.assert_allclose(drawn.affine[:, 2], 14.5 - 14.5 * a0 - 9.5 * a1 + 4.5 * right, rtol=1e-5)
    a3, a4 = mirror * np.sin(angle) / (zoom / stretch), np.cos(angle) / (zoom / stretch)
    np.testing.assert_allclose(drawn.affine[:, 5], 9.5 - 14.5 * a3 - 9.5 * a4 + 3.0 * down, rtol=1e-5)
    light, spread, _, _ = (rng.uniform(-1, 1, 3) for _ in range(4))
    light, spread = 1 + 0.3 * light, 1 + 0.3 * spread
    np.testing.assert_allclose(drawn.color[:, 1, 3], spread * (light - 1), rtol=1e-5, atol=1e-7)
    chosen, area = rng.random(3) < 0.5, rng.uniform(0.02, 0.25, 3)
    sides = drawn.box[:, 2:] - drawn.box[:, :2]
    np.testing.assert_allclose(sides.prod(axis=1), np.where(chosen, area * 600, 0), rtol=1e-4)
    for _ in range(3):
        rng.random(3)
    share = rng.beta(0.4, 0.4, 3)
    np.testing.assert_allclose(drawn.share, np.maximum(share, 1 - share), rtol=1e-6)


def test_a_new_augmentation_leaves_the_draws_of_the_others_alone() -> None:
    plain, more = (draws(FitConfig(erase=0.5, mixup=0.2, **new)) for new in ({}, {"weather": 0.5, "cutmix": 0.0}))
    for name in ("affine", "color", "box", "share"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(more, name))


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


# ---- perspective -------------------------------------------------------------------------------------------------


def test_perspective_keeps_the_center_and_stays_within_its_reach() -> None:
    a = draws(config(perspective=0.4)).affine.astype(np.float64)
    x, y = 14.5, 9.5
    np.testing.assert_allclose((a[:, 0] * x + a[:, 1] * y + a[:, 2]) / (a[:, 6] * x + a[:, 7] * y + 1), x, atol=1e-4)
    edges = [a[:, 6] * x + a[:, 7] * y + 1 for x in (0, 29) for y in (0, 19)]
    ratio = np.stack(edges) / (a[:, 6] * x + a[:, 7] * y + 1)  # how much farther away than the center
    assert ratio.min() >= 0.6 - 1e-4
    assert ratio.max() <= 1.4 + 1e-4
    assert ratio.min() < 0.65


def test_a_tilt_by_hand() -> None:
    """In units of half the width about the center, x is taken from x / (1 + p x)."""
    from featherlite.training.augment.geometry import after, draw_tilt
    from featherlite.training.augment.numbers import Drawn

    class Given(Drawn):
        """p 0.25 of the reach 0.4, q 0."""

        def __init__(self) -> None:
            super().__init__(np.random.default_rng(0))
            self.values = iter(([0.25], [0.0]))

        def uniform(self, low: float, high: float, shape: Any) -> Any:
            return np.array(next(self.values))

    matrix = draw_tilt(config(perspective=0.4), Given(), 1, 21, 21)
    terms = after(Given(), np.array([IDENTITY_AFFINE]), matrix)[0]
    for x, wanted in ((10, 10), (20, 10 + 10 / 1.1), (0, 10 - 10 / 0.9)):
        seen = (terms[0] * x + terms[1] * 10 + terms[2]) / (terms[6] * x + terms[7] * 10 + 1)
        assert seen == pytest.approx(wanted)


def test_every_backend_resamples_alike() -> None:
    """The gathers that stand in for Keras's transform where that knows no perspective."""
    from featherlite.training.augment.geometry import gathered, resample

    photos = network_input(np.random.default_rng(1).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8))
    matrix = draws(config(perspective=0.4, rotate_deg=20.0, zoom=0.3, flip=True), 6, height=40, width=48).affine
    ours = np.asarray(gathered(photos, matrix))
    theirs = np.asarray(resample(photos, matrix, projective=True))
    assert np.abs(ours - theirs).mean() < 1e-3
    assert np.quantile(np.abs(ours - theirs), 0.99) < 1e-3  # but for the seams of the mirrored outside


def test_on_an_accelerator_all_of_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA has no kernel for TensorFlow's own transform: one such layer would keep the step from being compiled."""
    import tensorflow as tf

    from featherlite.training.augment import geometry
    from featherlite.training.augment.layer import Augment

    keys = config(rotate_deg=20.0, zoom=0.3, brightness=0.3)
    assert not Augment(keys).supports_jit
    photos = np.random.default_rng(1).integers(0, 256, (4, 24, 32, 3), dtype=np.uint8)
    inputs = {"photos": photos, **draw(keys, np.random.default_rng(2), 4, 24, 32)}
    usual = np.asarray(Augment(keys)(inputs))
    monkeypatch.setattr(geometry, "on_accelerator", lambda: True)
    layer = Augment(keys)
    assert layer.supports_jit
    compiled = np.asarray(tf.function(layer, jit_compile=True)(inputs))
    assert np.quantile(np.abs(compiled - usual), 0.99) < 1e-3


def test_without_strength_photos_are_left_alone() -> None:
    from featherlite.training.augment.layer import Augment

    photos = np.random.default_rng(1).integers(0, 256, (4, 24, 32, 3), dtype=np.uint8)
    keys = config(augment=0.0)
    seen = Augment(keys)({"photos": photos, **draw(keys, np.random.default_rng(2), 4, 24, 32)})
    np.testing.assert_array_equal(np.asarray(seen), network_input(photos))


# ---- RandAugment -------------------------------------------------------------------------------------------------


def test_randaugment_at_no_strength_changes_nothing() -> None:
    drawn = draws(config(randaugment=3, randaugment_magnitude=0.0))
    np.testing.assert_allclose(drawn.affine, np.tile(np.float32(IDENTITY_AFFINE), (400, 1)), atol=1e-5)
    np.testing.assert_allclose(drawn.color, np.tile(np.float32(IDENTITY_COLOR), (400, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(drawn.points[:, 1:], np.tile([256, 1, 1], (400, 1)))
    assert set(np.unique(drawn.points[:, 0])) == {0, 1}  # autocontrast has no strength


def test_one_randaugment_change_is_one_of_the_list_at_its_reach() -> None:
    from featherlite.training.augment.randaugment import CHANGES

    drawn = draws(config(randaugment=1, randaugment_magnitude=10.0), 1300)
    turned = np.abs(drawn.affine - np.float32(IDENTITY_AFFINE)).max(axis=1) > 1e-3
    colored = np.abs(drawn.color - np.float32(IDENTITY_COLOR)).max(axis=(1, 2)) > 1e-3
    touched = np.abs(drawn.points - np.float32([0, 256, 1, 1])).max(axis=1) > 1e-3
    assert (turned.astype(int) + colored + touched <= 1).all()
    assert len(CHANGES) == 13
    for share, kinds in ((turned.mean(), 5), (colored.mean(), 3), (touched.mean(), 4)):
        assert abs(share - kinds / 13) < 0.05
    degrees = np.rad2deg(np.arctan2(drawn.affine[:, 3], drawn.affine[:, 4]))[np.abs(drawn.affine[:, 4] - 1) > 1e-3]
    np.testing.assert_allclose(np.abs(degrees), 30, atol=1e-3)
    assert set(np.unique(drawn.points[:, 2])) == {1, 16}  # four bits
    assert set(np.unique(drawn.points[:, 1])) == {0, 256}
    np.testing.assert_allclose(np.unique(drawn.points[:, 3]), [0.1, 1.0, 1.9], rtol=1e-6)


def test_point_changes_are_pillows() -> None:
    from PIL import ImageEnhance, ImageOps

    photo = Image.fromarray(noise(1, 24, 24)[0] // 2 + 40)
    wanted = {
        (1, 256, 1, 1): ImageOps.autocontrast(photo),
        (0, 100, 1, 1): ImageOps.solarize(photo, 100),
        (0, 256, 16, 1): ImageOps.posterize(photo, 4),
        (0, 256, 1, 1.8): ImageEnhance.Sharpness(photo).enhance(1.8),
        (0, 256, 1, 0.2): ImageEnhance.Sharpness(photo).enhance(0.2),
    }
    count = len(wanted)
    seen = applied(np.repeat(np.asarray(photo)[None], count, axis=0), points=np.float32([*wanted]))
    for ours, (points, theirs) in zip(seen, wanted.items(), strict=True):
        difference = np.abs(ours * 128 + 128 - np.asarray(theirs, np.float32))
        assert difference.max() <= 1.5, points  # Pillow rounds to whole levels in between


# ---- CutMix ------------------------------------------------------------------------------------------------------


def test_cutmix_pastes_whole_pixels_of_the_partner_and_counts_them() -> None:
    from featherlite.training.augment.blend import kept_share

    settings = config(cutmix=1.0)
    drawn = draws(settings, 6)
    assert (drawn.cut == np.round(drawn.cut)).all()
    photos = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 20, 30, 3), np.uint8)
    seen = np.round(applied(photos, settings, cut=drawn.cut) * 128 + 128)
    own = (seen == photos).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(own, kept_share(vars(drawn), 20, 30), atol=1e-6)
    assert ((seen == photos) | (seen == photos[::-1])).all()
    assert own.min() < 0.9


def test_cutmix_areas_follow_the_beta_distribution() -> None:
    """With alpha 1 and a box that is not cut by an edge the kept share is uniform: its mean is above a half."""
    cut = draws(config(cutmix=1.0), 4000, height=100, width=100).cut
    area = (cut[:, 2] - cut[:, 0]) * (cut[:, 3] - cut[:, 1]) / 1e4
    assert (area >= 0).all()
    assert (area <= 1).all()
    untouched = (cut[:, 0] > 0) & (cut[:, 1] > 0) & (cut[:, 2] < 100) & (cut[:, 3] < 100)
    side = (cut[:, 2] - cut[:, 0]) / 100
    np.testing.assert_allclose(side[untouched], (cut[untouched, 3] - cut[untouched, 1]) / 100, atol=0.021)
    # A box of side s about a center anywhere keeps 1 - s/4 of each side on average: E[s] = 2/3, E[s^2] = 1/2.
    assert abs(side.mean() - (2 / 3 - 1 / 8)) < 0.02


def test_mixup_or_cutmix_gives_each_photo_one_of_the_two_with_the_untouched_partner() -> None:
    settings = config(mixup=1.0, cutmix=1.0)
    drawn = draws(settings, 400)
    blended, pasted = drawn.share < 1, drawn.cut[:, 2] > drawn.cut[:, 0]
    assert not (blended & pasted).any()
    assert 150 < blended.sum() < 250
    photos = noise(4)
    share, cut = np.float32([0.75, 1, 1, 1]), np.float32([[0] * 4, [0] * 4, [0] * 4, [0, 0, 30, 20]])
    seen = applied(photos, settings, share=share, cut=cut)
    plain = network_input(photos)
    np.testing.assert_allclose(seen[0], 0.75 * plain[0] + 0.25 * plain[3], atol=1e-6)  # not what photo 3 has become
    np.testing.assert_allclose(seen[3], plain[0], atol=1e-6)
