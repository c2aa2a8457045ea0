"""Laying one thumbnail over another."""

import numpy as np
import pytest

from featherlite.data.registration import likeness

WHOLE = np.array([[0, 0, 1, 1]], np.float32)


def texture(seed: int, side: int = 112) -> np.ndarray:
    """A smooth random picture: sums of waves, float32 [side, side], 0..255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = sum(
        rng.normal() / (1 + np.hypot(u, v)) * np.cos(2 * np.pi * (u * x + v * y) + rng.uniform(0, 6.3))
        for u in range(-6, 7)
        for v in range(7)
    )
    return ((waves - waves.min()) / np.ptp(waves) * 255).astype(np.float32)


def thumb(picture: np.ndarray, left: float = 0, top: float = 0, size: float = 1) -> np.ndarray:
    """A box of the picture at 28 x 28, as one of a stack."""
    from PIL import Image

    side = picture.shape[0]
    box = (left * side, top * side, (left + size) * side, (top + size) * side)
    small = Image.fromarray(picture).resize((28, 28), Image.Resampling.BOX, box=box)
    return np.asarray(small, np.float32)[None]


def test_a_picture_is_like_itself_whatever_its_light_and_contrast() -> None:
    one = thumb(texture(0))
    assert likeness(one, one, WHOLE)[0] == pytest.approx(1, abs=1e-3)
    assert likeness(one, one * 0.4 + 60, WHOLE)[0] > 0.99


@pytest.mark.parametrize(("left", "top", "size"), [(0.02, 0.05, 0.93), (0.0, 0.1, 0.9), (0.06, 0.0, 0.88)])
def test_the_box_is_found_from_a_start_nearby(left: float, top: float, size: float) -> None:
    picture = texture(1)
    start = np.array([[0.05, 0.05, 0.9, 0.9]], np.float32)
    assert likeness(thumb(picture), thumb(picture, left, top, size), start)[0] > 0.9


def test_other_pictures_are_not_alike() -> None:
    firsts = np.concatenate([thumb(texture(seed)) for seed in range(20)])
    seconds = np.concatenate([thumb(texture(seed)) for seed in range(20, 40)])
    assert likeness(firsts, seconds, np.repeat(WHOLE, 20, axis=0)).max() < 0.5


def test_flat_pictures_are_alike_to_nothing() -> None:
    flat = np.full((1, 28, 28), 130, np.float32)
    assert likeness(flat, flat, WHOLE)[0] == 0
    assert likeness(thumb(texture(2)), flat, WHOLE)[0] == 0


def test_each_pair_is_judged_alone() -> None:
    firsts = np.concatenate([thumb(texture(seed)) for seed in range(6)])
    seconds = np.concatenate([thumb(texture(seed)) for seed in (0, 9, 2, 8, 4, 7)])
    together = likeness(firsts, seconds, np.repeat(WHOLE, 6, axis=0))
    alone = [likeness(firsts[i : i + 1], seconds[i : i + 1], WHOLE)[0] for i in range(6)]
    assert together == pytest.approx(alone, abs=1e-4)
