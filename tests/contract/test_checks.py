"""What every check of the audit promises, checked over the registry."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from featherlite.data.checks import check_names, load_check, measured_checks
from featherlite.data.evidence import Evidence
from featherlite.data.findings import ACTIONS
from featherlite.data.look import look, look_dtype
from featherlite.data.source import Scan, scan

NAMES = sorted(check_names())


def drawn(seed: int, size: tuple[int, int] = (112, 112)) -> Image.Image:
    """A sharp picture in many colors."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(40, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for number in range(30):
        left, top = (int(random.integers(0, side - 8)) for side in size)
        right, bottom = left + int(random.integers(6, 40)), top + int(random.integers(6, 40))
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((left, top, right, bottom), fill=tuple(random.integers(0, 240, 3).tolist()))
    return image


def jpeg(image: Image.Image, orientation: int = 1) -> bytes:
    exif, stream = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def written(root: Path, photos: dict[str, bytes]) -> Path:
    for path, content in photos.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Three classes of eight sound photos that differ."""
    photos = {f"{name}/{i}.jpg": jpeg(drawn(100 * k + i)) for k, name in enumerate("abc") for i in range(8)}
    return Evidence(scan(written(tmp_path_factory.mktemp("perfect"), photos)))


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Every fault that can be planted with a few lines, in given splits."""
    photos = {f"train/{name}/{i}.jpg": jpeg(drawn(100 * k + i)) for k, name in enumerate("abc") for i in range(9)}
    sound = drawn(999)
    photos |= {
        "test/a/leak.jpg": photos["train/a/0.jpg"],
        "test/b/near.jpg": jpeg(drawn(101).resize((90, 90))),
        "train/a/twin.jpg": photos["train/a/1.jpg"],
        "train/b/other-label.jpg": photos["train/a/2.jpg"],
        "train/a/blurred.jpg": jpeg(sound.filter(ImageFilter.GaussianBlur(4))),
        "train/a/dark.jpg": jpeg(sound.point([value // 6 for value in range(256)] * 3)),
        "train/a/burnt.jpg": jpeg(sound.point([min(255, value * 4) for value in range(256)] * 3)),
        "train/a/flat.jpg": jpeg(Image.new("RGB", (112, 112), (120, 90, 60))),
        "train/b/grey.jpg": jpeg(drawn(998).convert("L")),
        "train/b/large.jpg": jpeg(drawn(997).resize((300, 300))),
        "train/b/strip.jpg": jpeg(drawn(996).crop((0, 0, 112, 20))),
        "train/b/tiny.jpg": jpeg(drawn(995).resize((16, 16))),
        "train/b/turned.jpg": jpeg(drawn(994), orientation=6),
        "train/c/cut.jpg": photos["train/c/1.jpg"][:900],
        "train/A_/1.jpg": jpeg(drawn(993)),
    }
    return Evidence(scan(written(tmp_path_factory.mktemp("messy"), photos)))


def test_the_checks_are_there() -> None:
    assert {"dark", "overexposed", "low-information", "blurred", "grayscale"} <= set(NAMES)
    assert {"odd-size", "odd-aspect", "tiny", "exif-rotation", "unreadable"} <= set(NAMES)
    assert {"small-class", "class-imbalance", "alike-names"} <= set(NAMES)
    assert {"exact-duplicate", "near-duplicate", "label-conflict", "leakage"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_check_says_what_it_looks_for(name: str) -> None:
    summary = check_names()[name]
    assert summary, "the first line of the file says what is looked for"
    assert summary[0].islower(), "it is shown in a list"
    assert not summary.endswith(".")
    assert load_check(name).summary == summary


@pytest.mark.parametrize("name", sorted(measured_checks()))
def test_a_measure_is_a_finite_column_of_the_look(name: str) -> None:
    assert name in (look_dtype().names or ())
    for size in ((1, 1), (2, 300), (300, 2), (17, 16), (900, 700)):
        for color in (0, 128, 255):
            row = look(jpeg(Image.new("RGB", size, (color,) * 3)))
            assert np.isfinite(row[name]).all(), (size, color)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    assert list(load_check(name).judge(Evidence(Scan(Path("nowhere"), "folders", (), ())))) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found_in_a_perfect_set(name: str, perfect: Evidence) -> None:
    assert list(load_check(name).judge(perfect)) == []


@pytest.mark.parametrize("name", NAMES)
def test_issues_hold_together(name: str, messy: Evidence) -> None:
    known = {photo.path for photo in messy.photos} | {fault.path for fault in messy.faults}
    classes = set(messy.classes)
    for issue in load_check(name).judge(messy):
        assert issue.check == name
        assert 0.0 < issue.score <= 1.0
        assert isinstance(issue.score, float)
        assert issue.message
        assert issue.message[0] == issue.message[0].casefold()
        assert issue.action in ACTIONS
        assert set(issue.paths) <= known
        assert set(issue.targets) <= known
        assert len(set(issue.paths)) == len(issue.paths)
        assert issue.paths or any(f"'{label}'" in issue.message for label in classes)
        assert bool(issue.to) == (issue.action in ("relabel", "merge"))
        assert issue.to in classes | {""}


@pytest.fixture(scope="module")
def messy_again(messy: Evidence) -> Evidence:
    return Evidence(scan(messy.scan.root))


@pytest.mark.parametrize("name", NAMES)
def test_judging_twice_says_the_same(name: str, messy: Evidence, messy_again: Evidence) -> None:
    once = list(load_check(name).judge(messy))
    assert once == list(load_check(name).judge(messy_again))
    needs_more = {"small-class", "class-imbalance", "alike-names"}  # tested with classes of their own
    if not load_check(name).needs_features and name not in needs_more:
        assert once, "the messy set has this fault"
