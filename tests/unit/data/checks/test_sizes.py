from __future__ import annotations

import io
from collections.abc import Callable
from math import log2

import numpy as np
import pytest
from PIL import Image

from featherlite.data.checks import load_check
from featherlite.data.checks._fence import beyond
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

Make = Callable[..., Evidence]


def sized(*sizes: tuple[int, int]) -> dict[str, Image.Image]:
    """One photo of each size, named by its number, in two classes."""
    return {f"{'ab'[i % 2]}/{i:02}.png": Image.new("RGB", size, (i, 90, 200)) for i, size in enumerate(sizes)}


def found(evidence: Evidence, name: str) -> dict[str, Issue]:
    return {issue.paths[0].partition("/")[2].partition(".")[0]: issue for issue in load_check(name).judge(evidence)}


def test_the_fence_by_hand() -> None:
    # The quartiles of 0 to 7 are 1.75 and 5.25: 0 lies half a width below, which scores
    # 0.5 / 3.5; 1 lies 0.75 / 3.5 widths below.
    scores = beyond(np.arange(8.0), 0.1)
    low = 0.75 / 3.5
    np.testing.assert_allclose(scores, [1 / 7, low / (low + 3), 0, 0, 0, 0, low / (low + 3), 1 / 7])
    alike = np.array([1.0] * 20 + [1.3])
    assert beyond(alike, 0.1)[-1] == pytest.approx(3 / (3 + 3))


def test_odd_size_by_the_odder_side(evidence_of: Make) -> None:
    usual = [(60, 60)] * 20
    issues = found(evidence_of(sized(*usual, (45, 60), (56, 60), (60, 90), (120, 121))), "odd-size")
    assert set(issues) == {"20", "22", "23"}
    octaves = log2(60 / 45) * 15  # in units of the least spread
    assert issues["20"].score == pytest.approx(octaves / (octaves + 3))
    assert issues["20"].message == "45 x 60 pixels, where 60 x 60 is usual"


def test_upright_and_lying_photos_and_a_second_usual_size_are_not_odd(evidence_of: Make) -> None:
    sizes = [(60, 90)] * 8 + [(90, 60)] * 8 + [(64, 64)] * 5 + [(30, 30)] * 2
    evidence = evidence_of(sized(*sizes))
    assert set(found(evidence, "odd-size")) == {"21", "22"}
    assert found(evidence, "odd-aspect") == {}


def test_odd_aspect(evidence_of: Make) -> None:
    issues = found(evidence_of(sized(*[(60, 60)] * 10, (60, 120), (60, 80), (240, 60))), "odd-aspect")
    assert {name: issue.score for name, issue in issues.items()} == {
        "10": pytest.approx(1 / 0.25 / (1 / 0.25 + 3)),  # one octave off, least spread 0.25
        "12": pytest.approx(2 / 0.25 / (2 / 0.25 + 3)),
    }
    assert issues["12"].message == "240 x 60 pixels: sides of 4.0 to 1, where 1.0 to 1 is usual"


def test_tiny_by_the_short_side(evidence_of: Make) -> None:
    issues = found(
        evidence_of(sized((100, 100), (100, 100), (100, 49), (90, 40), (20, 30), (99, 99), (99, 99))), "tiny"
    )
    assert {name: (issue.score, issue.action) for name, issue in issues.items()} == {
        "03": (pytest.approx(1 - 0.5 * 40 / 48), "look"),
        "04": (pytest.approx(1 - 0.5 * 20 / 48), "drop"),
    }
    assert issues["04"].message == "only 20 x 30 pixels"


def test_a_set_of_tiny_photos_is_told_once(evidence_of: Make) -> None:
    (issue,) = load_check("tiny").judge(evidence_of(sized((32, 32), (32, 32), (32, 32), (99, 99))))
    assert issue.paths == ()
    assert "3 of 4 photos" in issue.message


def test_exif_rotation_is_one_issue_for_all(evidence_of: Make) -> None:
    def stored(orientation: int) -> bytes:
        exif, stream = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        Image.new("RGB", (80, 60), (9, 99, 9)).save(stream, "JPEG", exif=exif)
        return stream.getvalue()

    photos = {"a/1.jpg": stored(1), "a/6.jpg": stored(6), "b/2.jpg": stored(2), "b/9.jpg": stored(9)}
    evidence = evidence_of(photos)
    (issue,) = load_check("exif-rotation").judge(evidence)
    assert issue.paths == issue.targets == ("a/6.jpg", "b/2.jpg")
    assert (issue.score, issue.action) == (0.2, "look")
    assert issue.message.startswith("2 of 4 photos")
    assert evidence.looks["width"].tolist() == [80, 60, 80, 80]  # upright
