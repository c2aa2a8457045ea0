from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import ExportError
from featherlite.export.export import ExportConfig, export
from featherlite.models.artefact import labels_text
from featherlite.models.golden import draw_inputs, read_golden
from featherlite.runtime.flatbuffer import inspect
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context


def test_float_artefacts_stand_beside_the_int8_one(quantized: Bundle, exported: Bundle) -> None:
    assert exported.exports == ("float16", "float32", "int8")
    assert exported.subject == "int8", "an export does not change what speaks for the bundle"
    assert exported.read("exports/int8/model.tflite") == quantized.read("exports/int8/model.tflite")


@pytest.mark.parametrize(("name", "tolerance"), [("float32", 1e-4), ("float16", 0.05)])
def test_a_float_artefact_answers_as_the_network(exported: Bundle, name: str, tolerance: float) -> None:
    data = exported.read(f"exports/{name}/model.tflite")
    facts = inspect(data)
    assert (facts.input.dtype, facts.output.dtype) == ("float32", "float32")
    golden = read_golden(exported.read(f"exports/{name}/golden.npz"))
    assert np.abs(open_runtime("litert", data).run(golden.inputs) - golden.logits).max() < tolerance
    assert ("float16" in {tensor.dtype for tensor in facts.tensors}) == (name == "float16")
    assert exported.read_json(f"exports/{name}/export.json")["dtype"] == name


def test_a_format_is_asked_for_once() -> None:
    with pytest.raises(ValidationError, match="each format once"):
        ExportConfig(formats=("float32", "float32"))
    with pytest.raises(ValidationError):
        ExportConfig(formats=())


def test_labels_that_do_not_fit_are_refused(color_bundle: Bundle, make_context: Callable[[], Context]) -> None:
    two = color_bundle.with_labels((Label(name="a"), Label(name="b")))
    with pytest.raises(ExportError, match="3 outputs for 2 labels"):
        export(two, ExportConfig(), make_context())


@pytest.mark.parametrize("name", ["a\nb", "a\r", "a\u2028b"])
def test_a_label_with_a_line_break_is_refused(color_bundle: Bundle, name: str) -> None:
    with pytest.raises(ExportError, match="line break"):
        labels_text(color_bundle.with_labels((Label(name=name), Label(name="b"), Label(name="c"))))


def test_drawn_inputs_reach_every_pixel_value() -> None:
    inputs = draw_inputs(48, 32)
    assert inputs.shape == (8, 48, 32, 3)
    assert inputs.dtype == np.uint8
    assert len(np.unique(inputs)) == 256
    assert (inputs == draw_inputs(48, 32)).all()
    assert len({photo.tobytes() for photo in inputs}) == 8
