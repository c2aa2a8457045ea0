from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.errors import BundleError
from featherlite.evaluate.answers import answers_of, read_answers, write_answers
from featherlite.evaluate.evaluate import EvaluateConfig, evaluate
from featherlite.step import Context

LOGITS = np.array([[0, 2, 1], [3, 0, 0], [1, 1, 0]], np.float32)


def test_answers_by_hand() -> None:
    answers = answers_of(LOGITS, np.array([1, 2, 1]), ("x", "y", "z"), ("1.jpg", "2.jpg", "3.jpg"))
    assert answers.label == ("y", "z", "y")
    assert answers.predicted == ("y", "x", "x")  # of equals the first, as the score has it
    assert answers.top5[0] == ("y", "z", "x")
    assert answers.probability[0] == pytest.approx(np.exp(2) / (1 + np.exp(2) + np.exp(1)), abs=1e-6)


def test_answers_survive_the_disk() -> None:
    answers = answers_of(LOGITS, np.array([1, 2, 1]), ("x", "ÿ\n", "z"), ("1.jpg", "2.jpg", "3.jpg"))
    read = read_answers(write_answers({"network": answers, "int8": answers}), "here")
    assert list(read) == ["network", "int8"]
    assert read["int8"].predicted == answers.predicted
    assert read["network"].top5 == answers.top5
    assert read["network"].probability == pytest.approx(answers.probability)


def test_damaged_answers_are_told() -> None:
    whole = write_answers({"network": answers_of(LOGITS, np.array([1, 2, 1]), ("x", "y", "z"), ("1", "2", "3"))})
    with pytest.raises(BundleError, match="here is damaged"):
        read_answers(whole[:-20], "here")


def test_the_answers_are_those_that_were_scored(quantized: Bundle, make_context: Callable[[], Context]) -> None:
    from featherlite.data.photos import load_photos
    from featherlite.evaluate.measure import predict_logits

    ctx = make_context()
    made = evaluate(quantized, EvaluateConfig(subjects=("network", "int8")), ctx)
    read = read_answers(made.read("predictions/test.parquet"), "predictions")
    assert set(read) == {"network", "int8"}
    photos = load_photos(quantized, "test", ctx)
    assert read["int8"].path == photos.paths
    right = sum(label == predicted for label, predicted in zip(read["int8"].label, read["int8"].predicted, strict=True))
    assert right / len(photos.labels) == made.metrics["test"]["top1"]["value"]
    assert made.metrics["test"]["subject"] == "int8"
    assert made.metrics["test"]["reads"] == 1  # two subjects, one reading
    network = predict_logits(quantized, photos, "network")
    expected = answers_of(network, photos.labels, photos.classes, photos.paths)
    assert (read["network"].predicted, read["network"].top5) == (expected.predicted, expected.top5)


def test_what_speaks_for_the_bundle_is_always_among_the_subjects(
    color_bundle: Bundle, make_context: Callable[[], Context]
) -> None:
    made = evaluate(color_bundle, EvaluateConfig(split="val"), make_context())
    assert list(read_answers(made.read("predictions/val.parquet"), "here")) == ["network"]
    with pytest.raises(BundleError, match="no export 'int8'"):
        evaluate(color_bundle, EvaluateConfig(subjects=("int8",)), make_context())


def test_a_new_network_has_answered_nothing(color_bundle: Bundle, make_context: Callable[[], Context]) -> None:
    made = evaluate(color_bundle, EvaluateConfig(), make_context())
    assert "predictions/test.parquet" not in made.with_network(made.read("model.keras"))


def test_scores_and_answers_go_with_the_artefact_that_they_speak_of(
    quantized: Bundle, make_context: Callable[[], Context]
) -> None:
    from featherlite.models.artefact import Made, add_export

    made = evaluate(quantized, EvaluateConfig(), make_context())
    again = Made(made.read("exports/int8/model.tflite"))
    replaced = add_export(made, "int8", make_context(), made=again)
    assert "test" not in replaced.metrics
    assert "predictions/test.parquet" not in replaced
    beside = add_export(made, "float32", make_context())
    assert beside.metrics == made.metrics, "a new artefact beside it says nothing against them"
    assert "predictions/test.parquet" in beside


def test_scores_of_the_network_outlive_an_artefact_and_answers_of_the_artefact_do_not(
    quantized: Bundle, make_context: Callable[[], Context]
) -> None:
    from featherlite.models.artefact import Made, add_export

    spoken = quantized.with_files({}, subject="network")
    made = evaluate(spoken, EvaluateConfig(subjects=("int8",)), make_context())
    replaced = add_export(made, "int8", make_context(), made=Made(made.read("exports/int8/model.tflite")))
    assert replaced.metrics == made.metrics
    assert "predictions/test.parquet" not in replaced
