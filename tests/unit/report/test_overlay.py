"""The picture of a map over a photo: colors that are even, panels that fit, captions that are not cut off."""

from __future__ import annotations

import numpy as np
import pytest

from featherlite.preprocess import Preprocess
from featherlite.report.colormap import colormap, oklab_to_srgb, srgb_to_oklab
from featherlite.report.overlay import MARGIN, Caption, overlay_picture, panel_preprocess, tinted

GRAY = np.full((96, 128, 3), 128, np.uint8)
CAPTION = Caption("daisy", 0.847, "class activation: what each place adds to the class, exactly")


def test_oklab_by_its_authors_values() -> None:
    """White, sRGB's red and black, as the article gives them."""
    lab = srgb_to_oklab(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(lab, [[1, 0, 0], [0.6280, 0.2249, 0.1258], [0, 0, 0]], atol=2e-4)
    colors = np.random.default_rng(1).random((50, 3))
    np.testing.assert_allclose(oklab_to_srgb(srgb_to_oklab(colors)), colors, atol=1e-6)


def test_the_colors_are_even_and_grow_lighter() -> None:
    """Over any 20 of the 256 steps the difference is the same within 8% (a single one is rounded to whole levels)."""
    colors = colormap()
    assert (colors.shape, colors.dtype) == ((256, 3), np.uint8)
    lab = srgb_to_oklab(colors / 255.0)
    apart = np.linalg.norm(lab[20:] - lab[:-20], axis=1)
    assert apart.max() < 1.08 * apart.min()
    assert np.diff(lab[:, 0]).min() > 0
    assert lab[0, 0] < 0.3
    assert lab[-1, 0] > 0.9


def test_the_map_colors_its_own_place() -> None:
    places = np.zeros((4, 4), np.float32)
    places[0, 3] = 0.4  # the largest there is takes the brightest color
    picture = tinted(GRAY, places).astype(int)
    assert picture.shape == GRAY.shape
    light = picture.sum(axis=2)
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert row < 24
    assert column >= 96
    assert picture[8, 120, 0] > picture[8, 120, 2]  # yellow there, violet far from it
    assert picture[90, 8, 2] > picture[90, 8, 0]


def test_the_photo_can_be_seen_through_the_map() -> None:
    photo = GRAY.copy()
    photo[:, :64] = 20
    picture = tinted(photo, np.full((2, 2), 0.7, np.float32))
    assert int(picture[:, 100].sum()) > 1.5 * int(picture[:, 20].sum())
    assert len(np.unique(picture[:, 80:].reshape(-1, 3), axis=0)) == 1  # a flat map has one color


def test_the_picture_holds_photo_map_and_words() -> None:
    places = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    picture = overlay_picture(GRAY, places, CAPTION)
    pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[MARGIN : MARGIN + 96, MARGIN : MARGIN + 128], GRAY)
    np.testing.assert_array_equal(pixels[MARGIN : MARGIN + 96, -MARGIN - 128 : -MARGIN], tinted(GRAY, places))
    beneath = pixels[MARGIN + 96 :]
    assert beneath.min() < 60, "there are words"
    edges = (beneath[:, :MARGIN], beneath[:, -MARGIN:], beneath[-8:])
    assert all((edge == 255).all() for edge in edges), "nothing runs over the margin"


@pytest.mark.parametrize("label", ["W" * 300, "Höhlenweihe", "鹪鹩", "", "two\nlines"])
def test_any_name_fits(label: str) -> None:
    picture = np.asarray(overlay_picture(GRAY, np.ones((2, 2), np.float32), Caption(label, 1.0, "x" * 200)))
    words = picture[MARGIN + 96 :]
    assert (words[:, :MARGIN] == 255).all()
    assert (words[:, -MARGIN:] == 255).all()
    assert (words[:, MARGIN + 128 : MARGIN + 128 + 8] == 255).all(), "the left caption stays beneath its photo"


def test_the_probability_is_a_bar_of_its_length() -> None:
    def dark(share: float) -> int:
        picture = np.asarray(overlay_picture(GRAY, np.ones((2, 2), np.float32), Caption("", share, "")))
        return int((picture[MARGIN + 96 + 60, MARGIN : MARGIN + 60] < 60).all(axis=1).sum())

    assert dark(0.0) == 0
    assert 0 < dark(0.3) < dark(0.7)


@pytest.mark.parametrize(("width", "height"), [(96, 96), (64, 128), (1024, 512)])
def test_the_photo_is_the_networks_cut_of_it_in_a_size_to_look_at(width: int, height: int) -> None:
    preprocess = Preprocess(width=width, height=height, fit="squash", denoise=True)
    large = panel_preprocess(preprocess)
    assert max(large.width, large.height) == 448
    assert large.width * height == large.height * width
    assert (large.fit, large.denoise) == ("squash", False)
