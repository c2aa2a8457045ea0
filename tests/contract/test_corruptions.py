"""What every corruption promises, checked over the registry."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from featherlite.data.corrupt import FAMILIES, MIN_PX, SEVERITIES, corrupt, corruption, corruptions, generator_of
from featherlite.data.corrupt._fields import coordinates
from featherlite.data.corrupt._light import Floats

NAMES = tuple(corruptions())
Pixels = NDArray[np.uint8]


def photo(seed: int, height: int, width: int) -> Pixels:
    """Lumps of color with grain on them, neither dark nor burnt out."""
    rng = np.random.default_rng(seed)
    lumps = Image.fromarray(rng.integers(20, 236, (11, 13, 3), dtype=np.uint8))
    scene = np.asarray(lumps.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return np.clip(scene + rng.normal(0, 10, scene.shape), 0, 255).astype(np.uint8)


PHOTOS = [photo(seed, 72, 96) for seed in range(8)]


def test_what_the_project_promises_is_there() -> None:
    promised = "fog rain snow low_light glare motion_blur defocus sensor_noise jpeg"
    assert set(promised.split()) <= set(NAMES)


def test_both_families_know_weather_light_blur_and_file() -> None:
    for kind in ("weather", "light", "blur", "file"):
        assert {one.family for one in corruptions().values() if one.kind == kind} == set(FAMILIES), kind
    sizes = [sum(one.family == family for one in corruptions().values()) for family in FAMILIES]
    assert min(sizes) >= 7
    assert {one.kind for one in corruptions().values() if one.family == "held_out"} >= {"lens"}


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_declared_in_full(name: str) -> None:
    one = corruptions()[name]
    assert name == one.name == one.function.__name__
    assert one.summary.endswith("."), "the first line says what comes out"
    assert one.strengths, "strengths are data"
    for parameter, values in one.strengths.items():
        assert len(values) == len(SEVERITIES), parameter
        steps = np.diff(values)
        assert (steps > 0).all() or (steps < 0).all(), f"{parameter} must grow or fall with severity"
    assert set(one.at(2)) == set(one.strengths)


@pytest.mark.parametrize("name", NAMES)
def test_it_gets_worse_with_severity(name: str) -> None:
    distances = [
        np.mean([np.abs(made.astype(int) - clean).mean() for made, clean in zip(worse, PHOTOS, strict=True)])
        for worse in (corrupt(PHOTOS, name, severity, seed=1) for severity in SEVERITIES)
    ]
    assert distances[0] > 0.5, "the slightest can be measured"
    assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_gives_the_same_photo(name: str) -> None:
    for severity in (1, 5):
        first, second = (corruptions()[name](PHOTOS[0], severity, generator_of(PHOTOS[0], name, 3)) for _ in range(2))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(height=st.integers(MIN_PX, 60), width=st.integers(MIN_PX, 60), severity=st.sampled_from(SEVERITIES))
def test_any_shape_comes_back_as_it_went_in(name: str, height: int, width: int, severity: int) -> None:
    clean = photo(height * 64 + width, height, width)
    kept = clean.copy()
    made = corruptions()[name](clean, severity, np.random.default_rng(0))
    assert (made.shape, made.dtype) == (clean.shape, np.uint8)
    np.testing.assert_array_equal(clean, kept)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(MIN_PX, MIN_PX), (MIN_PX, 400), (400, MIN_PX)])
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_and_slim_photos_hold(name: str, shape: tuple[int, int], value: int) -> None:
    extreme = np.full((*shape, 3), value, np.uint8)
    extreme.setflags(write=False)
    for severity in (1, 5):
        assert corruptions()[name](extreme, severity, np.random.default_rng(1)).shape == extreme.shape


def test_the_page_about_it_holds() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "robustness.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    around = {"np": np, "corruption": corruption, "coordinates": coordinates, "Floats": Floats}
    for block in blocks:
        exec(block, around)
    white = np.full((65, 65, 3), 255, np.uint8)
    corners = around["vignette"](white, 5, np.random.default_rng(0))  # type: ignore[operator]
    assert (corners[32, 32, 0], corners[0, 0, 0]) == (255, 124)  # a fifth of the light is 0.4845 of 255
    table = text[text.index("## What there is") : text.index("## What the figures mean")]
    for one in corruptions().values():
        row = next(line for line in table.splitlines() if line.startswith(f"| {one.kind} "))
        cell = row.split("|")[2 if one.family == "train" else 3]
        assert one.name in cell.replace(",", " ").split(), one.name
