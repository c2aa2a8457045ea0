from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, ExportError
from featherlite.models.golden import draw_inputs, read_golden
from featherlite.models.network import load_network, network_bytes
from featherlite.quantize.post_training import prepare
from featherlite.quantize.quantize import QuantizeConfig, quantize
from featherlite.runtime.flatbuffer import inspect, read_metadata
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context

FILES = ("model.tflite", "export.json", "golden.npz", "labels.txt", "preprocess.json")


def test_the_artefact_is_int8_and_takes_pixel_minus_128(quantized: Bundle) -> None:
    facts = inspect(quantized.read("exports/int8/model.tflite"))
    assert facts.int8_only, facts.not_int8
    assert (facts.input.dtype, facts.input.scale, facts.input.zero_point) == ("int8", 1 / 128, 0)
    assert facts.input.shape == (1, 24, 24, 3)
    assert facts.output.dtype == "int8"
    assert quantized.subject == "int8"
    assert quantized.exports == ("int8",)


def test_export_json_says_what_the_artefact_is(color_bundle: Bundle, quantized: Bundle) -> None:
    data, document = quantized.read("exports/int8/model.tflite"), quantized.read_json("exports/int8/export.json")
    assert (document["name"], document["dtype"], document["bytes"]) == ("int8", "int8", len(data))
    assert document["sha256"] == hashlib.sha256(data).hexdigest()
    assert document["network_sha256"] == hashlib.sha256(color_bundle.read("model.keras")).hexdigest()
    # stem 3*3*3*8 + 8, depthwise 3*3*8 + 8, dense 8*3 + 3
    assert document["parameters"] == 224 + 80 + 27
    # stride 2: 12 * 12 positions
    assert document["macs"] == 144 * 27 * 8 + 144 * 9 * 8 + 24
    photo = {"name": "x", "dtype": "int8", "shape": [1, 24, 24, 3], "scale": 1 / 128, "zero_point": 0}
    assert document["input"] == photo
    assert {"op": "DEPTHWISE_CONV_2D", "count": 1} in document["ops"]
    assert document["representative"]["n"] == len(document["representative"]["paths"]) == 24
    assert "ai-edge-litert" in document["converter"]


def test_labels_and_preprocessing_travel_inside_and_beside(quantized: Bundle) -> None:
    data = quantized.read("exports/int8/model.tflite")
    assert quantized.read("exports/int8/labels.txt") == b"blue\ngreen\nred\n"
    for name in ("labels.txt", "preprocess.json"):
        assert read_metadata(data, name) == quantized.read(f"exports/int8/{name}")
    assert json.loads(quantized.read("exports/int8/preprocess.json")) == quantized.read_json("preprocess.json")


def test_golden_vectors_are_drawn_and_answered_by_the_reference_kernels(quantized: Bundle) -> None:
    golden = read_golden(quantized.read("exports/int8/golden.npz"))
    assert (golden.inputs == draw_inputs(24, 24)).all()
    assert golden.outputs.dtype == np.int8
    again = open_runtime("litert_reference", quantized.read("exports/int8/model.tflite")).run_raw(golden.inputs)
    assert (golden.outputs == again).all()
    # The mid-grey input is zero to the network: relu6(0 + 1) on each channel, then 0.1 more, times 8, less 8.
    assert np.abs(golden.logits[6] - 8 * 0.1).max() < 1.0


def test_the_same_seed_gives_the_same_bytes_and_no_former_verdict(
    color_bundle: Bundle, quantized: Bundle, make_context: Callable[[], Context]
) -> None:
    stale = color_bundle.with_json("verify.json", {"exports": []})
    context = make_context()
    again = quantize(stale, QuantizeConfig(photos=24, seed=3), context)
    for name in FILES:
        assert again.read(f"exports/int8/{name}") == quantized.read(f"exports/int8/{name}"), name
    assert "verify.json" not in again
    assert "verify.json" in stale
    assert context.details["representative"]["n"] == 24


def test_where_ranges_are_measured_the_converter_is_shown_some_photos_of_the_set(
    color_bundle: Bundle, make_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(**options: Any) -> int:
        making = prepare(color_bundle, QuantizeConfig(photos=12, **options), 0, make_context()).making
        assert making.representative is not None
        return len(making.representative)

    monkeypatch.setattr("featherlite.quantize.post_training.CONVERTED", 5)
    assert shown() == 5, "its ranges are given, but for those inside of layers"
    assert shown(scheme="int16x8") == 12, "it measures these itself"


@pytest.mark.parametrize("correct", [True, False])
def test_a_network_that_answers_no_numbers_is_refused(
    correct: bool, color_bundle: Bundle, make_context: Callable[[], Context]
) -> None:
    network = load_network(color_bundle)
    network.get_layer("head_logits").bias.assign(np.full(3, np.nan))
    broken = color_bundle.with_network(network_bytes(network))
    with pytest.raises(BundleError, match="The layer 'head_logits' puts out values that are not finite"):
        quantize(broken, QuantizeConfig(photos=9, correct=correct), make_context())
    for scheme in ("int16x8", "int8-weights", "float16"):
        with pytest.raises(ExportError, match="The layer 'head_logits' has weights that are not finite"):
            quantize(broken, QuantizeConfig(scheme=scheme), make_context())
