from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from featherlite.data.checks import load_check
from featherlite.data.checks.overexposed import measure
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.look import View

Make = Callable[..., Evidence]
Draw = Callable[..., Image.Image]


def found(evidence: Evidence, name: str) -> dict[str, Issue]:
    return {issue.paths[0]: issue for issue in load_check(name).judge(evidence)}


def flat(value: int) -> Image.Image:
    return Image.new("RGB", (100, 100), (value,) * 3)


def with_top(share: float, low: int, high: int) -> Image.Image:
    """A share of the 100 x 100 pixels at one luma, the others at another."""
    luma = np.full(10000, low, np.uint8)
    luma[: round(share * 10000)] = high
    return Image.fromarray(luma.reshape(100, 100)).convert("RGB")


def test_dark_goes_by_what_is_bright(evidence_of: Make, draw: Draw) -> None:
    night, lamp, spotlight = flat(40), with_top(0.005, 4, 255), with_top(0.05, 4, 255)
    issues = found(
        evidence_of({"a/night.png": night, "a/lamp.png": lamp, "b/bird.png": spotlight, "b/x.png": draw(0)}), "dark"
    )
    assert set(issues) == {"a/night.png", "a/lamp.png"}
    # 40 lies in bin 10 of 64: 99% of the pixels stay below 10.99 / 64 = 0.172 of white, of a limit of 0.3.
    assert issues["a/night.png"].score == pytest.approx(1 - 0.5 * (10.99 / 64) / 0.3, abs=1e-3)
    assert "17% of white" in issues["a/night.png"].message


def test_burnt_out_counts_white_at_a_quarter() -> None:
    pixels = np.full((224, 224, 3), 90, np.uint8)
    pixels[:, :112] = (255, 252, 100)  # half of it: two channels burnt out
    pixels[:112, 112:] = 255  # a quarter white
    pixels[112:168, 112:] = (255, 100, 100)  # an eighth red, which is not burnt out
    assert measure(View(Image.fromarray(pixels), 224, 224)) == pytest.approx(0.5 + 0.25 / 4)


def test_overexposed_is_burnt_out_or_washed_out(evidence_of: Make, draw: Draw) -> None:
    sound = draw(1)
    washed = sound.point([round(255 - (255 - value) * 0.2) for value in range(256)] * 3)
    burnt = sound.point([min(255, value * 4) for value in range(256)] * 3)
    white = Image.new("RGB", (128, 128), (255, 255, 255))
    white.paste(sound.resize((110, 110)), (9, 9))  # a quarter of it is a white frame
    photos = {
        "a/flat.png": flat(200),
        "a/washed.png": washed,
        "a/burnt.png": burnt,
        "b/frame.png": white,
        "b/x.png": sound,
    }
    issues = found(evidence_of(photos), "overexposed")
    assert set(issues) == {"a/flat.png", "a/washed.png", "a/burnt.png"}
    # 200 lies in bin 50: 5% of the pixels are darker than 50.05 / 64 = 0.782; from 0.5 at 0.65 to 1 at 1.
    assert issues["a/flat.png"].score == pytest.approx(0.5 + 0.5 * (50.05 / 64 - 0.65) / 0.35, abs=1e-3)
    assert "washed out" in issues["a/washed.png"].message
    assert "burnt out" in issues["a/burnt.png"].message


def test_low_information_by_range_and_by_entropy(evidence_of: Make, draw: Draw) -> None:
    # Shades 128, 132 and 136 in equal parts: 1.58 bits, but from 32.03 to 34.97 of 64 bins only.
    near_flat = np.repeat(np.array([128, 132, 136], np.uint8), 3000).reshape(90, 100)
    placeholder = with_top(0.1, 250, 20)
    photos = {"a/3.png": Image.fromarray(near_flat).convert("RGB"), "a/p.png": placeholder, "b/x.png": draw(2)}
    issues = found(evidence_of(photos), "low-information")
    assert set(issues) == {"a/3.png", "a/p.png"}
    assert issues["a/3.png"].score == pytest.approx(1 - 0.5 * (2.94 / 64) / 0.12, abs=2e-3)
    assert "nearly flat" in issues["a/3.png"].message
    bits = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9))  # 0.469
    assert issues["a/p.png"].score == pytest.approx(1 - 0.5 * bits / 0.7, abs=2e-3)
    assert "0.5 bits" in issues["a/p.png"].message


@pytest.mark.parametrize(("grey", "score"), [(1, 0.75), (2, 0.5), (3, None), (8, None)])
def test_grey_photos_are_told_where_they_are_rare(
    grey: int, score: float | None, evidence_of: Make, draw: Draw
) -> None:
    drawn = [draw(seed, (64, 64)) for seed in range(8)]
    photos = {f"{'ab'[i % 2]}/{i}.png": image.convert("L") if i < grey else image for i, image in enumerate(drawn)}
    issues = found(evidence_of(photos), "grayscale")
    assert [issue.score for issue in issues.values()] == ([] if score is None else [pytest.approx(score)] * grey)


def test_grey_in_three_channels_is_grey_and_pale_is_not(evidence_of: Make, draw: Draw) -> None:
    photos = {f"{'ab'[i % 2]}/{i}.png": draw(i, (64, 64)) for i in range(8)}
    photos["a/three.png"] = draw(9, (64, 64)).convert("L").convert("RGB")
    photos["b/pale.png"] = Image.blend(photos["a/three.png"], draw(9, (64, 64)), 0.2)
    assert set(found(evidence_of(photos), "grayscale")) == {"a/three.png"}
