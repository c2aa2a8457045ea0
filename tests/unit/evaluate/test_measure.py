from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.data.photos import load_photos
from featherlite.errors import BundleError, DataError
from featherlite.evaluate.evaluate import EvaluateConfig, evaluate
from featherlite.evaluate.measure import measure, measure_verified, predict_logits
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context

ARTEFACT = "exports/int8/model.tflite"
MakeContext = Callable[[], Context]


def test_a_network_is_weighed_and_scored(color_bundle: Bundle, make_context: MakeContext) -> None:
    found = measure(color_bundle, load_photos(color_bundle, "val", make_context()))
    assert (found.subject, found.input_px, found.classes) == ("network", 24, 3)
    assert (found.parameters, found.bytes) == (331, 4 * 331)
    assert found.top1 is not None
    assert (found.top1.value, found.top1.n, found.top1.split) == (1.0, 6, "val")
    assert found.arena_bytes is None
    assert found.activation_bytes == 24 * 24 * 3 + 12 * 12 * 8, "the photo and what the first convolution makes of it"


def test_an_artefact_is_weighed_as_a_file(quantized: Bundle, make_context: MakeContext) -> None:
    found = measure(quantized, load_photos(quantized, "val", make_context()))
    assert (found.subject, found.parameters) == ("int8", 331)
    assert found.bytes == len(quantized.read(ARTEFACT))
    assert found.activation_bytes == 24 * 24 * 3 + 12 * 12 * 8
    assert found.top1 is not None
    assert found.top1.value == 1.0


def test_an_arena_is_measured_where_tensorflow_lite_micro_is_at_hand(
    quantized: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tflite_micro")
    assert measure(quantized, None).arena_bytes == open_runtime("tflm", quantized.read(ARTEFACT)).arena_bytes
    facts = quantized.read_json("exports/int8/export.json")
    refused = quantized.with_json("exports/int8/export.json", facts | {"tflm": {"runs": False, "why": "no kernel"}})
    assert measure(refused, None).arena_bytes is None
    monkeypatch.setattr("featherlite.evaluate.measure.find_spec", lambda name: None)
    assert measure(quantized, None).arena_bytes is None


def test_without_photos_there_is_a_weight_and_no_score(quantized: Bundle, make_context: MakeContext) -> None:
    assert measure(quantized, None).top1 is None
    nothing = load_photos(quantized, "calibration", make_context())
    assert measure(quantized, nothing).top1 is None


def test_logits_of_network_and_artefact_are_close(quantized: Bundle, make_context: MakeContext) -> None:
    photos = load_photos(quantized, "test", make_context())
    network, int8 = (predict_logits(quantized, photos, subject) for subject in ("network", "int8"))
    assert network.shape == int8.shape == (24, 3)
    assert network.dtype == int8.dtype == np.float32
    # Photos brighter than any of the representative set are clipped, so the bound is on the usual photo.
    assert 0 < np.median(np.abs(network - int8)) < 0.05
    with pytest.raises(BundleError, match="no export 'float8'; it has: int8"):
        predict_logits(quantized, photos, "float8")


def test_readings_of_the_test_split_are_counted(color_bundle: Bundle, make_context: MakeContext) -> None:
    once = evaluate(color_bundle, EvaluateConfig(), make_context())
    twice = evaluate(once, EvaluateConfig(), make_context())
    assert [bundle.metrics["test"]["reads"] for bundle in (once, twice)] == [1, 2]
    both = evaluate(twice, EvaluateConfig(split="val"), make_context())
    assert (both.metrics["test"]["reads"], both.metrics["val"]["reads"], both.metrics["val"]["n"]) == (2, 1, 6)
    assert "metrics.json" not in color_bundle


def test_readings_that_kept_nothing_count_too(color_bundle: Bundle, make_context: MakeContext, tmp_path: Path) -> None:
    copy = color_bundle.save(tmp_path / "bundle")
    copy.remember(test_reads=4)
    assert evaluate(copy, EvaluateConfig(), make_context()).metrics["test"]["reads"] == 5


def test_the_ladder_row_is_what_the_step_measured(
    color_bundle: Bundle, quantized: Bundle, make_context: MakeContext
) -> None:
    evaluated = evaluate(color_bundle, EvaluateConfig(), make_context())
    row = measure_verified(evaluated)
    assert row.top1 is not None
    assert (row.subject, row.top1.n, row.top1.split, row.bytes) == ("network", 24, "test", 4 * 331)
    on_val = measure_verified(evaluate(color_bundle, EvaluateConfig(split="val"), make_context()))
    assert on_val.top1 is not None
    assert on_val.top1.split == "val"
    with pytest.raises(DataError, match="no score of 'int8'"):
        measure_verified(evaluated.with_files({}, subject="int8"))


def test_the_row_of_a_step_is_of_the_photos_that_it_scored(color_bundle: Bundle, make_context: MakeContext) -> None:
    tested = evaluate(color_bundle, EvaluateConfig(), make_context())
    both = evaluate(tested, EvaluateConfig(split="val"), make_context())
    rows = [measure_verified(both, former) for former in (tested, both)]
    assert [row.top1.split for row in rows if row.top1] == ["val", "test"], "where no score is new, that on test photos"
