from __future__ import annotations

from collections.abc import Callable
from math import ceil, hypot, sqrt

import numpy as np
import pytest
from PIL import Image, ImageFilter

from featherlite.data.checks import load_check
from featherlite.data.checks.blurred import CONTRAST, ENOUGH, LEAST, LIMIT, POINTS, SHARPEST, SIDE, measure
from featherlite.data.evidence import Evidence
from featherlite.data.look import View

Draw = Callable[..., Image.Image]


def width_of(image: Image.Image) -> float:
    return measure(View(image.convert("RGB"), *image.size))


def ramp(steps: int) -> Image.Image:
    """Black, then `steps` equal rises to 240, then light."""
    line = np.clip(np.arange(SIDE) - 60, 0, steps) * (240 // steps)
    return Image.fromarray(np.broadcast_to(line.astype(np.uint8), (SIDE, SIDE)).copy())


@pytest.mark.parametrize(("steps", "seen"), [(1, 1), (4, 2), (8, 4)])
def test_an_edge_is_as_wide_as_its_steps(steps: int, seen: int) -> None:
    # Of 16 lines of 15 steps that see 40% of the rise or more, two see just that: the tenth part that counts. A
    # diagonal crosses the same steps over sqrt(2) times the way, and the widest direction counts.
    assert width_of(ramp(steps)) == pytest.approx(seen * sqrt(2) / SIDE)
    assert width_of(ramp(steps).transpose(Image.Transpose.ROTATE_90)) == pytest.approx(seen * sqrt(2) / SIDE)


def test_contrast_does_not_count() -> None:
    faint = ramp(8).point([100 + value // 4 for value in range(256)])
    assert width_of(faint) == pytest.approx(width_of(ramp(8)), rel=0.15)  # 7 or 8 levels a step


@pytest.mark.parametrize("shape", [(90, 128), (128, 77), (40, 33)])
def test_it_is_what_loops_find(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[0])
    image = Image.fromarray(random.integers(0, 256, shape, np.uint8)).filter(ImageFilter.GaussianBlur(2))
    luma = np.asarray(image).astype(int)
    low, high = (np.sort(luma.ravel())[ceil(share * luma.size) - 1] for share in (0.01, 0.99))
    least = max(LEAST, ceil(CONTRAST * (high - low)))
    widest = 0.0
    for (down, across), points in POINTS.items():
        rows, columns = shape[0] - down * (points - 1), shape[1] - abs(across) * (points - 1)
        first = points - 1 if across < 0 else 0
        widths = []
        for y in range(0, rows, 2):
            for x in range(first, first + columns, 2):
                line = [luma[y + i * down, x + i * across] for i in range(points)]
                rise, step = max(line) - min(line), max(abs(np.diff(line)))
                if rise >= least:
                    widths.append(rise / max(step, 1))
        lines = ceil(rows / 2) * ceil(columns / 2)
        if widths and len(widths) >= ENOUGH * lines:
            widest = max(widest, sorted(widths)[int(SHARPEST * len(widths))] * hypot(down, across))
    assert width_of(image) == pytest.approx(widest / SIDE)


@pytest.mark.parametrize("seed", range(4))
def test_blurred_and_shaken_are_found_and_a_soft_background_is_not(seed: int, draw: Draw) -> None:
    sharp = draw(seed, (256, 256))
    assert width_of(sharp) < LIMIT
    assert width_of(sharp.filter(ImageFilter.GaussianBlur(0.015 * 256))) > LIMIT
    pixels = np.asarray(sharp, np.float32)
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shaken = np.mean([np.roll(pixels, (down * i, across * i), (0, 1)) for i in range(round(0.07 * 256))], axis=0)
        assert width_of(Image.fromarray(shaken.astype(np.uint8))) > LIMIT, (down, across)
    subject = sharp.filter(ImageFilter.GaussianBlur(12))
    subject.paste(sharp.crop((80, 80, 176, 176)), (80, 80))
    assert width_of(subject) < LIMIT


def test_enlarged_twice_or_a_few_pixels_large_is_not_blurred(draw: Draw) -> None:
    small = draw(5, (128, 128))
    assert width_of(small.resize((256, 256), Image.Resampling.BICUBIC)) < LIMIT
    assert width_of(small.resize((20, 20), Image.Resampling.BOX)) < LIMIT


def test_contrast_without_any_edge_is_as_blurred_as_can_be() -> None:
    slope = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8), (SIDE, SIDE)).copy()
    assert width_of(Image.fromarray(slope)) == max(POINTS.values()) / SIDE
    assert width_of(Image.new("L", (SIDE, SIDE), 99)) == 0.0


def test_the_score(evidence_of: Callable[..., Evidence], draw: Draw) -> None:
    evidence = evidence_of(
        {"a/0.png": draw(0), "b/1.png": draw(1).filter(ImageFilter.GaussianBlur(4)), "b/2.png": ramp(2)}
    )
    (issue,) = load_check("blurred").judge(evidence)
    assert issue.paths == ("b/1.png",)
    width = float(evidence.looks["blurred"][1])
    assert issue.score == pytest.approx(min(1.0, 0.5 * width / LIMIT))
    assert f"{width:.1%}" in issue.message
