"""The scores of made-up findings, worked out by hand."""

from __future__ import annotations

from audit_score import ACCEPTED, Finding, Known, false_alarms, first_rank, found, found_among_first
from plant import CONFLICTS, FAULTY, LEAKS, OFF_TOPIC, SAME, WRONG_LABEL, Planted

OURS = ACCEPTED["featherlite"]
PLANTED = (
    Planted("a/9.jpg", "cropped", "a/1.jpg"),
    Planted("a/8.jpg", "cropped", "a/2.jpg"),
    Planted("a/3.jpg", "dark", "a/3.jpg"),
    Planted("a/4.jpg", "dark", "a/4.jpg"),
)
NATIVE = {"a/1.jpg", "a/2.jpg", "a/5.jpg", "a/6.jpg", "a/7.jpg"}


def near(*paths: str) -> Finding:
    return Finding("near-duplicate", paths, 0.9)


def test_a_copy_is_found_only_together_with_its_original() -> None:
    findings = [near("a/1.jpg", "a/9.jpg"), near("a/8.jpg", "a/5.jpg"), Finding("dark", ("a/8.jpg",), 1.0)]
    assert found(PLANTED, findings, "cropped", OURS["cropped"]) == [PLANTED[0]]


def test_a_single_fault_is_found_by_the_right_check_only() -> None:
    findings = [Finding("dark", ("a/3.jpg",), 0.6), Finding("blurred", ("a/4.jpg",), 0.6)]
    assert found(PLANTED, findings, "dark", OURS["dark"]) == [PLANTED[2]]


def test_false_alarms_of_single_photos() -> None:
    findings = [Finding("dark", (path,), 0.6) for path in ("a/1.jpg", "a/3.jpg", "a/5.jpg")]
    assert false_alarms(NATIVE, PLANTED, (), findings, OURS) == {"dark": ["a/1.jpg", "a/5.jpg"]}
    known = [Known("a/5.jpg", "dark"), Known("a/1.jpg", "blurred")]
    assert false_alarms(NATIVE, PLANTED, known, findings, OURS) == {"dark": ["a/1.jpg"]}


def test_the_original_of_a_copy_is_no_false_alarm_and_a_stranger_is() -> None:
    assert false_alarms(NATIVE, PLANTED, (), [near("a/1.jpg", "a/9.jpg")], OURS) == {"near-duplicate": []}
    wrong = false_alarms(NATIVE, PLANTED, (), [near("a/1.jpg", "a/9.jpg", "a/5.jpg")], OURS)
    assert wrong == {"near-duplicate": ["a/1.jpg", "a/5.jpg"]}


def test_known_repeats_are_no_false_alarms() -> None:
    findings = [near("a/5.jpg", "a/6.jpg"), near("a/6.jpg", "a/7.jpg")]
    known = [Known("a/6.jpg", "near", "a/5.jpg")]
    assert false_alarms(NATIVE, (), known, findings, OURS) == {"near-duplicate": ["a/6.jpg", "a/7.jpg"]}


def test_a_chain_of_known_and_planted_repeats_is_one_picture() -> None:
    known = [Known("a/1.jpg", "near", "a/5.jpg")]
    assert false_alarms(NATIVE, PLANTED, known, [near("a/9.jpg", "a/1.jpg", "a/5.jpg")], OURS) == {"near-duplicate": []}


def test_ranks_go_by_score_and_count_a_photo_once() -> None:
    wrong = (Planted("b/1.jpg", "wrong-label", "a/1.jpg"), Planted("b/2.jpg", "wrong-label", "a/2.jpg"))
    scores = {"b/2.jpg": 0.2, "b/1.jpg": 0.8, "c/1.jpg": 0.9, "c/2.jpg": 0.5, "c/3.jpg": 0.4}
    findings = [Finding("wrong-label", (path,), score) for path, score in scores.items()]
    findings += [Finding("dark", ("b/2.jpg",), 1.0), Finding("wrong-label", ("c/1.jpg",), 0.85)]
    assert first_rank(findings, "wrong-label", "b/1.jpg") == (2, 5)
    assert first_rank(findings, "wrong-label", "b/3.jpg") == (None, 5)
    assert found_among_first(wrong, findings, "wrong-label", "wrong-label") == (1, 2)


def test_every_kind_is_the_business_of_our_audit() -> None:
    assert {*SAME, *CONFLICTS, *FAULTY, *LEAKS, OFF_TOPIC, WRONG_LABEL} == OURS.keys()
