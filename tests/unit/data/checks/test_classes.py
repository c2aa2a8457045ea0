from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featherlite.data.checks import load_check
from featherlite.data.checks.alike_names import _candidates, _is_slip, _likeness, _words
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue

Make = Callable[..., Evidence]


def issues(name: str, evidence_of: Make, sizes: Mapping[str, int]) -> list[Issue]:
    """What a check says of classes of these sizes."""
    photos = {
        f"{label}/{number}.png": Image.new("RGB", (8, 8), (number, place, 9))
        for place, (label, size) in enumerate(sizes.items())
        for number in range(size)
    }
    return list(load_check(name).judge(evidence_of(photos)))


def test_small_classes(evidence_of: Make) -> None:
    found = issues("small-class", evidence_of, {"fair": 5, "good": 9, "single": 1, "small": 4, "wide": 7})
    assert [issue.score for issue in found] == [pytest.approx(0.9), pytest.approx(0.6)]
    assert found[0].message == "the class 'single' has one photo: it trains, and nothing tests the class"
    assert "'small' has 4 photos: at most 3 of them" in found[1].message
    assert all(issue.paths == () for issue in found)


def test_a_set_of_small_classes_is_told_once(evidence_of: Make) -> None:
    (issue,) = issues("small-class", evidence_of, {"a": 2, "b": 3, "c": 4, "d": 9})
    assert issue.message.startswith("3 of 4 classes have fewer than 5 photos (3 in the middle)")
    assert issue.score == pytest.approx(0.7)


def test_class_imbalance_in_octaves(evidence_of: Make) -> None:
    found = issues(
        "class-imbalance", evidence_of, {"even": 8, "few": 2, "fewer": 1, "fine": 3, "huge": 64, "same": 8, "z": 9}
    )
    assert {issue.message.split("'")[1]: issue.score for issue in found} == {
        "few": pytest.approx(0.5),  # two octaves below 8
        "fewer": pytest.approx(0.75),
        "huge": pytest.approx(0.75),
    }
    assert "has 64 photos, 8.0 times more than the middle class with 8" in found[2].message


def test_names_of_the_same_letters_are_merged(evidence_of: Make) -> None:
    (issue,) = issues("alike-names", evidence_of, {"Black-Swan": 1, "black_swan": 3, "crow": 2})
    assert (issue.action, issue.to, issue.targets) == ("merge", "black_swan", ("Black-Swan/0.png",))
    assert issue.score == 0.95
    assert "'black_swan' and 'Black-Swan' (3 and 1 photos)" in issue.message


def test_names_with_slips_are_only_shown(evidence_of: Make) -> None:
    names = {"DOUBLE BRESTED CORMARANT": 1, "DOUBLE CRESTED CORMORANT": 2, "BLACK SWAN": 1, "BLACK STAN": 1}
    (issue,) = issues("alike-names", evidence_of, names)
    assert (issue.action, issue.to, issue.targets) == ("look", "", ())
    assert issue.score == pytest.approx(1 - 2.5 / 7)  # the shorter of the two words has 7 letters
    assert "differ by a letter in two words" in issue.message


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        ("crème brûlée", "Creme-Brulee", 0.95),
        ("Anna's hummingbird", "Annas Hummingbird", 0.95),
        ("blue jay", "jay, blue", 0.7),
        ("rose", "roses", 0.7),
        ("daisy", "daisies", 0.7),
        ("mandrin duck", "mandarin duck", 1 - 2.5 / 7),
        ("kestrel", "ketsrel", 1 - 2.5 / 7),
        ("eagle", "aegle", 0.5),
        ("tern", "term", 0.0),
        ("black swan", "black stan", 0.0),
        ("lot 12", "lot 13", 0.0),
        ("n01440764", "n01440765", 0.0),
        ("parus major", "parus minor", 0.0),
        ("great tit", "great blue tit", 0.0),
        ("cormorant", "cormarent", 0.0),
        ("!", "?", 0.0),
    ],
)
def test_likeness(one: str, other: str, score: float) -> None:
    assert _likeness(_words(one), _words(other))[0] == pytest.approx(score)
    assert _likeness(_words(other), _words(one))[0] == pytest.approx(score)
    if score:
        assert list(_candidates(["".join(_words(name)) for name in (one, "something else", other)])) == [(0, 2)]


@given(st.text("abcde", min_size=1, max_size=8), st.text("abcde", min_size=1, max_size=8))
def test_a_slip_is_a_distance_of_one(one: str, other: str) -> None:
    def near(text: str) -> set[str]:
        cuts = [(text[:i], text[i:]) for i in range(len(text) + 1)]
        dropped = {a + b[1:] for a, b in cuts if b}
        swapped = {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
        changed = {a + sign + b[1:] for a, b in cuts if b for sign in "abcde"}
        return dropped | swapped | changed | {a + sign + b for a, b in cuts for sign in "abcde"}

    if one != other:
        assert _is_slip(one, other) == (other in near(one))


def test_a_thousand_names_are_compared_at_once() -> None:
    keys = [f"{word}{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}" for i in range(500) for word in ("kestrel", "dunnock")]
    pairs = set(_candidates(keys))
    assert all(one < other for one, other in pairs)
    assert (0, 2) in pairs  # kestrelaa and kestrelba
    assert (0, 1) not in pairs
