from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.bundle import Bundle, Label
from featherlite.errors import BundleError, ExportError
from featherlite.export.edge_impulse import EdgeImpulseConfig, edge_impulse
from featherlite.export.edge_impulse_text import label_line
from featherlite.export.upload import upload_artefact
from featherlite.models.golden import draw_inputs
from featherlite.preprocess import softmax
from featherlite.runtime.flatbuffer import inspect
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context

MakeContext = Callable[[], Context]
FOLDER = "exports/edge-impulse"


def answers(data: bytes, photos: NDArray[np.uint8], resolver: str = "BUILTIN_REF") -> NDArray[np.int8]:
    """What a .tflite puts out for int8 `pixel - 128`, whatever its input's scale: int8 [n, classes]."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = getattr(OpResolverType, resolver)
    interpreter: Any = Interpreter(model_content=data, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    source, target = (ends[0]["index"] for ends in (interpreter.get_input_details(), interpreter.get_output_details()))
    found = []
    for photo in photos:
        interpreter.set_tensor(source, (photo.astype(np.int16) - 128).astype(np.int8)[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(target)[0].copy())
    return np.stack(found)


def edge_impulse_input(levels: NDArray[np.uint8], scale: float, zero_point: int) -> NDArray[np.int8]:
    """What Edge Impulse's library makes of levels by its rule -128..127: round((level - 128) / scale) + zero point."""
    return (np.round((levels.astype(np.float32) - 128) / np.float32(scale)) + zero_point).astype(np.int8)


@pytest.fixture(scope="module")
def uploaded(quantized: Bundle, make_context: MakeContext) -> Bundle:
    return edge_impulse(quantized, EdgeImpulseConfig(), make_context())


def test_the_folder_holds_what_the_form_asks_for(uploaded: Bundle, quantized: Bundle) -> None:
    assert {name for name in uploaded.files if name.startswith(FOLDER)} == {
        f"{FOLDER}/{name}" for name in ("upload.tflite", "labels.txt", "parameters.json", "README.txt")
    }
    assert uploaded.read(f"{FOLDER}/labels.txt") == b"blue,green,red"
    assert uploaded.exports == ("int8",), "a package is no artefact"
    assert uploaded.provides() == quantized.provides()


def test_the_parameters_are_those_of_the_interface(uploaded: Bundle) -> None:
    found = json.loads(uploaded.read(f"{FOLDER}/parameters.json"))
    assert found["request"] == {
        "input": {"inputType": "image", "inputScaling": "-128..127", "resizeMode": "fit-short"},
        "model": {"modelType": "classification", "labels": ["blue", "green", "red"]},
    }
    data = uploaded.read(f"{FOLDER}/upload.tflite")
    assert found["artefact"]["bytes"] == len(data)
    assert found["artefact"]["input"] == {"dtype": "int8", "shape": [1, 24, 24, 3], "scale": 1.0, "zero_point": 0}


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_the_resize_mode_follows_the_preprocessing(quantized: Bundle, make_context: MakeContext, fit: str) -> None:
    changed = quantized.with_json("preprocess.json", quantized.preprocess.model_dump() | {"fit": fit})
    made = edge_impulse(changed, EdgeImpulseConfig(), make_context())
    mode = json.loads(made.read(f"{FOLDER}/parameters.json"))["request"]["input"]["resizeMode"]
    assert mode == {"squash": "squash", "pad": "fit-long"}[fit]


def test_edge_impulse_feeds_exactly_what_a_device_does(uploaded: Bundle) -> None:
    facts = inspect(uploaded.read(f"{FOLDER}/upload.tflite"))
    scale, zero_point = facts.input.scale, facts.input.zero_point
    assert (scale, zero_point) == (1.0, 0)
    levels = np.arange(256, dtype=np.uint8)
    fed = edge_impulse_input(levels, 1.0, 0)
    assert (fed == levels.astype(np.int16) - 128).all()
    # With featherlite's own scale the same rule would leave the range at once, and wrap.
    assert (edge_impulse_input(levels, 1 / 128, 0) != fed).sum() > 200


@pytest.mark.parametrize("resolver", ["BUILTIN_REF", "AUTO"])
def test_logits_stay_what_they_were_to_the_last_bit(quantized: Bundle, resolver: str) -> None:
    data, photos = quantized.read("exports/int8/model.tflite"), draw_inputs(24, 24)
    before, after = answers(data, photos, resolver), answers(upload_artefact(data, softmax=False), photos, resolver)
    assert len(np.unique(before)) > 3
    assert (before == after).all()


def test_the_softmax_is_that_of_the_logits(quantized: Bundle, make_context: MakeContext) -> None:
    data, photos = quantized.read("exports/int8/model.tflite"), draw_inputs(24, 24)
    logits = open_runtime("litert_reference", data).run(photos)
    with_softmax = edge_impulse(quantized, EdgeImpulseConfig(softmax=True), make_context())
    without = edge_impulse(quantized, EdgeImpulseConfig(softmax=False), make_context())
    found = answers(with_softmax.read(f"{FOLDER}/upload.tflite"), photos)
    probabilities = (found.astype(np.float32) + 128) / 256
    assert np.abs(probabilities - softmax(logits)).max() <= 1.5 / 256
    assert "SOFTMAX" not in inspect(without.read(f"{FOLDER}/upload.tflite")).op_counts
    meanings = [made.read_json(f"{FOLDER}/parameters.json")["artefact"]["output"] for made in (with_softmax, without)]
    assert [(one["meaning"], one["scale"] == 1 / 256) for one in meanings] == [
        ("probabilities", True),
        ("logits", False),
    ]
    assert b"logits, not probabilities" in without.read(f"{FOLDER}/README.txt")


def test_it_runs_in_tensorflow_lite_micro(uploaded: Bundle) -> None:
    """The package brings its own interpreter, so the contract of featherlite's runtimes does not stand in the way."""
    runtime = pytest.importorskip("tflite_micro", reason="needs the extra mcu").runtime
    data = uploaded.read(f"{FOLDER}/upload.tflite")
    photos = draw_inputs(24, 24)
    interpreter = runtime.Interpreter.from_bytes(data)
    for photo, expected in zip(photos, answers(data, photos), strict=True):
        interpreter.set_input((photo.astype(np.int16) - 128).astype(np.int8)[None], 0)
        interpreter.invoke()
        # A dense layer's sums are rounded twice here and once in LiteRT: a step apart where they lie half way.
        found = interpreter.get_output(0)[0]
        assert np.abs(found.astype(np.int16) - expected).max() <= 1


def test_a_network_that_pads_first_keeps_its_logits(quantized: Bundle, make_context: MakeContext) -> None:
    from featherlite.models.network import network_bytes
    from featherlite.quantize.quantize import QuantizeConfig, quantize

    padded = quantize(
        quantized.with_network(network_bytes(first_layers("pad"))), QuantizeConfig(photos=24), make_context()
    )
    data, photos = padded.read("exports/int8/model.tflite"), draw_inputs(24, 24)
    assert next(op.name for op in inspect(data).ops) == "PAD"
    assert (answers(data, photos) == answers(upload_artefact(data, softmax=False), photos)).all()


@pytest.mark.slow
def test_a_network_that_adds_its_input_is_refused(quantized: Bundle, make_context: MakeContext) -> None:
    from featherlite.models.network import network_bytes
    from featherlite.quantize.quantize import QuantizeConfig, quantize

    adding = quantize(
        quantized.with_network(network_bytes(first_layers("add"))), QuantizeConfig(photos=24), make_context()
    )
    with pytest.raises(ExportError, match="ADD reads the input"):
        edge_impulse(adding, EdgeImpulseConfig(), make_context())


def first_layers(kind: str) -> Any:
    """A small network with its input padded by itself, or added to a convolution of itself."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = keras.Input((24, 24, 3))
    if kind == "pad":
        x = keras.layers.ZeroPadding2D(((2, 3), (3, 2)))(inputs)
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu6")(x)
    else:
        x = keras.layers.Add()([inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs)])
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))


def test_the_same_bundle_gives_the_same_bytes(uploaded: Bundle, quantized: Bundle, make_context: MakeContext) -> None:
    again = edge_impulse(quantized, EdgeImpulseConfig(), make_context())
    for name in (one for one in uploaded.files if one.startswith(FOLDER)):
        assert again.read(name) == uploaded.read(name), name


def test_a_comma_is_refused_unless_something_stands_for_it(quantized: Bundle, make_context: MakeContext) -> None:
    named = quantized.with_labels((Label(name="Robin, American"), Label(name="green"), Label(name="red")))
    with pytest.raises(ExportError, match="'Robin, American' holds a comma"):
        edge_impulse(named, EdgeImpulseConfig(), make_context())
    ctx = make_context()
    made = edge_impulse(named, EdgeImpulseConfig(comma=";"), ctx)
    assert made.read(f"{FOLDER}/labels.txt") == b"Robin; American,green,red"
    assert "'Robin; American' for 'Robin, American'" in ctx.details["warnings"][0]


@pytest.mark.parametrize(
    ("names", "comma", "message"),
    [
        (["a\nb", "c"], ";", "line break"),
        ([" a", "c"], ";", "blank at an end"),
        (["a,b", "c"], ",", "holds a comma"),
        (["a,b", "c"], " ", "holds a comma"),
        (["a,b", "a;b"], ";", "two classes are called 'a;b'"),
    ],
)
def test_names_that_cannot_stand_on_one_line_are_refused(names: list[str], comma: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        label_line(names, comma, lambda _text: None)


def test_preprocessing_that_edge_impulse_lacks_is_told(quantized: Bundle, make_context: MakeContext) -> None:
    preprocess = quantized.preprocess.model_dump() | {"denoise": True, "version": 2}
    ctx = make_context()
    edge_impulse(quantized.with_json("preprocess.json", preprocess), EdgeImpulseConfig(), ctx)
    assert "Edge Impulse does neither" in ctx.details["warnings"][0]


def test_a_bundle_without_an_int8_artefact_is_refused(color_bundle: Bundle, make_context: MakeContext) -> None:
    with pytest.raises(BundleError, match=r"no exports/int8/model\.tflite"):
        edge_impulse(color_bundle, EdgeImpulseConfig(), make_context())


def test_labels_that_do_not_fit_are_refused(quantized: Bundle, make_context: MakeContext) -> None:
    two = quantized.with_labels((Label(name="a"), Label(name="b")))
    with pytest.raises(BundleError, match="3 outputs for 2 labels"):
        edge_impulse(two, EdgeImpulseConfig(), make_context())


def test_a_package_is_saved_and_falls_with_its_artefact(
    uploaded: Bundle, make_context: MakeContext, tmp_path: Path
) -> None:
    from featherlite.models.artefact import Made, add_export

    saved = uploaded.save(tmp_path / "bundle")
    assert Bundle.open(saved.home or "").read(f"{FOLDER}/labels.txt") == b"blue,green,red"
    made = Made(saved.read("exports/int8/model.tflite"), "", ())
    again = add_export(saved, "int8", make_context(), made=made)
    assert again.exports == ("int8",)
    assert not again.packed
    assert saved.packed == {name for name in saved.files if name.startswith(FOLDER)}


def with_scales(data: bytes, count: int) -> bytes:
    """The artefact with the dense kernel's one scale repeated, as if each output had its own."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    (kernel,) = [op.inputs[1] for op in inspect(data).ops if op.name == "FULLY_CONNECTED"]
    model: Any = schema.ModelT.InitFromPackedBuf(data)
    quantization = model.subgraphs[0].tensors[kernel].quantization
    quantization.scale, quantization.zeroPoint = [float(quantization.scale[0])] * count, [0] * count
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_a_dense_kernel_of_many_scales_is_not_packed(quantized: Bundle, make_context: MakeContext) -> None:
    """Edge Impulse's library takes the first one for all: the device would answer, and wrongly."""
    many = with_scales(quantized.read("exports/int8/model.tflite"), 3)
    former = quantized.with_files({"exports/int8/model.tflite": many})
    with pytest.raises(BundleError, match="gave a dense layer a scale for each output"):
        edge_impulse(former, EdgeImpulseConfig(), make_context())


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ({"tflm": {"runs": False, "why": "it has no int8 kernel for EXP."}}, ExportError, "no int8 kernel for EXP"),
        ([], BundleError, "must hold an object"),
    ],
)
def test_what_tflm_does_not_run_is_not_packed(
    document: Any, error: type[Exception], message: str, quantized: Bundle, make_context: MakeContext
) -> None:
    with pytest.raises(error, match=message):
        edge_impulse(quantized.with_json("exports/int8/export.json", document), EdgeImpulseConfig(), make_context())
