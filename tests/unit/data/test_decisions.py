"""Decisions about photos: read, suggested, overruled, applied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherlite.data.decisions import (
    BY_HAND,
    Decision,
    apply_decisions,
    overruled,
    parse_decisions,
    suggested,
    write_decisions,
)
from featherlite.data.findings import Issue
from featherlite.data.source import Photo
from featherlite.errors import DataError

PHOTOS = tuple(Photo(path, path.split("/")[0], path, 1) for path in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg"))


def test_a_list_made_by_hand_is_read() -> None:
    text = "\ufeffAction, Target, Label, Reason\nDROP,a/1.jpg,,a hand is in it\nrelabel,a/2.jpg,b,\n\nmerge,c,b\n"
    assert parse_decisions(text, "mine.csv") == (
        Decision("drop", "a/1.jpg", "", BY_HAND, "a hand is in it"),
        Decision("relabel", "a/2.jpg", "b"),
        Decision("merge", "c", "b"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'action'"),
        ("action,path\ndrop,a", "no column 'target'"),
        ("action,target\ndelete,a/1.jpg", "line 2: 'delete' is no action"),
        ("action,target\ndrop,", "line 2: the target is missing"),
        ("action,target,label\nrelabel,a/1.jpg,", "the label that 'a/1.jpg' should get is missing"),
        ("action,target,label\nmerge,a\n", "the label that 'a' should get is missing"),
        ("action,target\ndrop,a/1.jpg\nkeep,a/1.jpg", "line 3: 'a/1.jpg' has been decided on before"),
    ],
)
def test_faults_are_told_with_their_line(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_decisions(text, "mine.csv")


def test_the_same_line_twice_counts_once() -> None:
    assert len(parse_decisions("action,target\ndrop,a\ndrop,a\n", "x")) == 1


def test_decisions_are_applied_in_the_order_of_the_photos() -> None:
    decisions = parse_decisions(
        "action,target,label\ndrop,a/1.jpg,\nrelabel,c/1.jpg,d\nmerge,b,a\nkeep,a/2.jpg,\n", "x"
    )
    kept, idle = apply_decisions(PHOTOS, decisions)
    assert [(photo.path, photo.label) for photo in kept] == [("a/2.jpg", "a"), ("b/1.jpg", "a"), ("c/1.jpg", "d")]
    assert idle == []


def test_decisions_about_nothing_are_named() -> None:
    _, idle = apply_decisions(PHOTOS, [Decision("drop", "a/9.jpg"), Decision("merge", "z", "a")])
    assert [decision.target for decision in idle] == ["a/9.jpg", "z"]


def test_only_chosen_checks_speak_and_dropping_beats_relabelling() -> None:
    issues = [
        Issue("wrong-label", ("a/1.jpg",), 0.9, "looks like b", "relabel", ("a/1.jpg",), "b"),
        Issue("label-conflict", ("a/1.jpg", "b/1.jpg"), 1.0, "two labels", "drop", ("a/1.jpg", "b/1.jpg")),
        Issue("dark", ("c/1.jpg",), 0.8, "dark", "look", ("c/1.jpg",)),
        Issue("near-duplicate", ("a/2.jpg", "c/1.jpg"), 0.8, "same", "keep-together", ("a/2.jpg", "c/1.jpg")),
    ]
    assert suggested(issues, ()) == ()
    every = ("wrong-label", "label-conflict", "dark", "near-duplicate")
    assert [(one.action, one.target) for one in suggested(issues, every)] == [("drop", "a/1.jpg"), ("drop", "b/1.jpg")]
    assert suggested(issues, ("wrong-label",)) == (Decision("relabel", "a/1.jpg", "b", "wrong-label", "looks like b"),)


def test_a_suggested_merge_relabels_the_photos_of_the_class() -> None:
    issue = Issue("alike-names", (), 0.95, "a and b mean the same", "merge", ("a/1.jpg", "a/2.jpg"), "b")
    kept, idle = apply_decisions(PHOTOS, suggested([issue], ("alike-names",)))
    assert [photo.label for photo in kept] == ["b", "b", "b", "c"]
    assert idle == []


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_list_from_a_spreadsheet_is_read(sign: str) -> None:
    text = "action,target,label,reason\ndrop,a/1.jpg,,\n".replace(",", sign)
    assert parse_decisions(text, "mine.csv") == (Decision("drop", "a/1.jpg"),)


def test_what_a_person_decided_wins() -> None:
    by_check = (Decision("drop", "a/1.jpg", "", "dark"), Decision("drop", "b/1.jpg", "", "dark"))
    assert overruled(by_check, (Decision("keep", "b/1.jpg"),)) == (by_check[0], Decision("keep", "b/1.jpg"))


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).map(str.strip).filter(bool)


@given(st.dictionaries(TEXT, TEXT, max_size=8))
def test_what_is_written_is_read_again(reasons: dict[str, str]) -> None:
    decisions = tuple(Decision("drop", target, "", "dark", reason) for target, reason in sorted(reasons.items()))
    assert parse_decisions(write_decisions(decisions).decode(), "x") == decisions


def test_taking_a_line_out_undoes_it() -> None:
    text = write_decisions([Decision("drop", "a/1.jpg"), Decision("drop", "b/1.jpg")]).decode()
    shorter = "\n".join(line for line in text.splitlines() if "a/1.jpg" not in line)
    kept, _ = apply_decisions(PHOTOS, parse_decisions(shorter, "x"))
    assert [photo.path for photo in kept] == ["a/1.jpg", "a/2.jpg", "c/1.jpg"]


def test_merges_are_followed_to_their_end() -> None:
    chain = [Decision("merge", "a", "b"), Decision("merge", "b", "c")]
    assert {photo.label for photo in apply_decisions(PHOTOS, chain)[0]} == {"c"}
    circle = [Decision("merge", "a", "b"), Decision("merge", "b", "a")]
    assert len({photo.label for photo in apply_decisions(PHOTOS[:3], circle)[0]}) == 2
