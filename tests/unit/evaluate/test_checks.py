"""What passes and what fails, by numbers small enough to work out by hand."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from featherlite.evaluate.checks import (
    Bounds,
    budget_failures,
    compare,
    frame_failures,
    golden_failures,
    identity_failures,
    remedy,
)

BOUNDS = Bounds(max_lsb=1, max_lsb_default=8, min_agreement=0.9, max_loss=0.02)


def answers(best: np.ndarray, classes: int = 2) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[best]


def compared(runtime: str, wrong: int, n: int, lsb: float = 0.0):  # type: ignore[no-untyped-def]
    labels = np.zeros(n, np.int64)
    best = labels.copy()
    best[:wrong] = 1
    return compare(runtime, answers(best), answers(labels), labels, np.full((n, 2), lsb), 0.5, BOUNDS)


def test_a_row_by_hand() -> None:
    found = compared("litert", wrong=1, n=100, lsb=-3)
    assert not found.failures
    assert (found.row["top1"]["value"], found.row["agreement"], found.row["max_lsb"]) == (0.99, 0.99, 3)
    assert found.row["loss"] == pytest.approx(0.01)
    assert found.row["max_lsb_network"] == 2.0, "1 in logits, at 0.5 a step"


@pytest.mark.parametrize(
    ("runtime", "lsb", "fails"), [("tflm", 1, False), ("tflm", 2, True), ("litert", 8, False), ("litert", 9, True)]
)
def test_each_runtime_has_its_own_bound(runtime: str, lsb: int, fails: bool) -> None:
    failures = compared(runtime, 0, 10, lsb).failures
    assert bool(failures) == fails
    if fails:
        assert f"{lsb} LSB" in failures[0]
        assert "10 of 10 photos" in failures[0]


def test_without_the_reference_no_steps_are_told() -> None:
    labels = np.zeros(4, np.int64)
    found = compare("tflm", answers(labels), answers(labels), labels, None, 0.5, BOUNDS)
    assert found.row["max_lsb"] is None
    assert not found.failures


def test_many_other_answers_fail() -> None:
    # 80 of 100 agree: the interval ends at 0.867. 20 lost and none won cannot be chance.
    failures = compared("litert", 20, 100).failures
    assert len(failures) == 2
    assert "80.0% of 100 photos" in failures[0]
    assert "loses 20.0 points" in failures[1]


def test_a_few_photos_prove_nothing() -> None:
    # 8 of 10 agree: 0.8, but the interval reaches 0.94; 2 lost of 10 happen by chance 1 time in 4.
    assert not compared("litert", 2, 10).failures


def test_other_answers_of_equal_worth_are_no_loss() -> None:
    labels = np.repeat([0, 1], 50)
    network, artefact = labels.copy(), labels.copy()
    network[:4], artefact[-4:] = 1, 0
    found = compare("litert", answers(artefact), answers(network), labels, None, 1.0, BOUNDS)
    assert (found.row["agreement"], found.row["loss"], found.failures) == (0.92, 0.0, [])


def test_inputs_made_of_golden_frames_are_exact() -> None:
    expected = np.zeros((3, 2, 2, 3), np.uint8)
    assert frame_failures(expected, expected.copy()) == []
    made = expected.copy()
    made[1, 0, 1, 2] = 1
    (failure,) = frame_failures(expected, made)
    assert failure == "golden frames: preprocessing makes other inputs of 1 of 3"
    assert remedy([failure]) == "Quantize or export again: its golden vectors were made with another preprocessing."
    assert "featherlite quantization" in remedy([failure, "golden vectors: differ"])


def test_golden_vectors_of_int8_are_exact() -> None:
    expected = np.array([[1, 2], [3, 4]], np.int8)
    assert golden_failures(expected, expected.copy()) == []
    other = expected.copy()
    other[1, 1] = 5
    assert golden_failures(expected, other) == ["golden vectors: 1 of 2 answered differently"]
    assert "float32 [2, 2] instead of int8 [2, 2]" in golden_failures(expected, expected.astype(np.float32))[0]


@pytest.mark.parametrize(("gap", "fails"), [(0.009, False), (0.011, True), (float("nan"), True)])
def test_golden_vectors_of_floats_may_round(gap: float, fails: bool) -> None:
    expected = np.array([[0, 10]], np.float32)
    assert bool(golden_failures(expected, expected + np.float32(gap))) == fails


def test_what_does_not_belong_together_is_told() -> None:
    export = {"sha256": hashlib.sha256(b"a").hexdigest(), "network_sha256": hashlib.sha256(b"n").hexdigest()}
    assert identity_failures(export, b"a", b"n", [("labels.txt", b"x", b"x")]) == []
    told = identity_failures(export, b"b", b"m", [("labels.txt", None, b"x"), ("preprocess.json", b"y", b"x")])
    assert len(told) == 4


def test_what_does_not_fit_the_device_is_told() -> None:
    assert budget_failures({"flash": (100, 100), "arena": (None, 5)}) == []
    assert budget_failures({"flash": (100, None)}) == []
    assert budget_failures({"flash": (194_561, 194_560), "arena": (1, 2)}) == [
        "flash: needs 194,561 bytes (at most 194,560 allowed)"
    ]


def test_each_kind_of_failure_has_its_remedy() -> None:
    (flash,) = budget_failures({"flash": (2000, 1000)})
    assert remedy([flash]).startswith("Build a smaller network")
    assert "quantization" not in remedy([flash])
    assert remedy(["litert: needs the arena"]).startswith("See which layers lose it")
    made = identity_failures({"sha256": "", "network_sha256": ""}, b"", b"", [])
    assert remedy(made) == "Quantize or export again: the artefact is not of this bundle as it is now."
    assert "smaller network" in remedy(["golden vectors: differ", flash])
    assert "featherlite quantization" in remedy(["golden vectors: differ", flash])
