"""What `quantize` makes under each of its settings: every form, given ranges, several sets, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import ExportError, RequestError
from featherlite.evaluate.verify import VerifyConfig, verify
from featherlite.models import convert as convert_module
from featherlite.models import convert_worker
from featherlite.models.artefact import make
from featherlite.models.heads import HeadOrder, build_head
from featherlite.models.network import load_network, network_bytes
from featherlite.quantize.post_training import prepare
from featherlite.quantize.quantize import QuantizeConfig, quantize
from featherlite.quantize.scheme import Scheme, read_scheme, with_scheme
from featherlite.quantize.stability import spread_of
from featherlite.runtime.flatbuffer import inspect
from featherlite.runtime.interpreter import open_runtime
from featherlite.step import Context

pytest.importorskip("tensorflow")
pytest.importorskip("keras")

PHOTOS = np.random.default_rng(8).integers(0, 256, (12, 24, 24, 3), dtype=np.uint8)

MakeContext = Callable[[], Context]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions in this process, which has TensorFlow loaded; `test_convert.py` runs them in their own."""

    def run(_module: str, arguments: list[str], **_: Any) -> str:
        convert_worker.main(*arguments)
        return ""

    monkeypatch.setattr(convert_module, "run_worker", run)


def made(bundle: Bundle, ctx: Context, **settings: Any) -> tuple[Bundle, dict[str, Any], bytes]:
    """The bundle after `quantize`, export.json and the artefact."""
    drawn = {} if settings.get("scheme") == "float16" else {"photos": 24, "seed": 3}
    config = QuantizeConfig(**drawn | settings)
    done = quantize(bundle, config, ctx)
    assert done.subject == config.scheme
    folder = f"exports/{config.scheme}"
    return done, done.read_json(f"{folder}/export.json"), done.read(f"{folder}/model.tflite")


def error_of(data: bytes, bundle: Bundle) -> float:
    """How far the artefact's logits lie from the network's, root mean square."""
    from featherlite.models.logits import network_logits

    wanted = network_logits(load_network(bundle), PHOTOS)
    return float(np.sqrt(np.square(open_runtime("litert", data).run(PHOTOS) - wanted).mean()))


def test_the_ranges_that_were_measured_go_with_the_artefact(
    color_bundle: Bundle, quantized: Bundle, make_context: MakeContext
) -> None:
    found = Scheme.model_validate_json(quantized.read("exports/int8/quantization.json"))
    assert set(found.activations) == {"stem", "mix", "head_pool", "head_logits"}
    assert (found.method, found.kernels) == ("minmax", "channel")
    document = quantized.read_json("exports/int8/export.json")
    assert (document["ranges"], document["kernels"], document["corrected"]) == ("minmax", "channel", True)
    assert document["tflm"] == {"runs": True, "why": ""}
    output = inspect(quantized.read("exports/int8/model.tflite")).output
    low, high = found.activations["head_logits"]
    assert output.scale == pytest.approx((high - low) / 255, rel=1e-5)
    assert read_scheme(quantized) is None, "the network itself has no ranges: only this artefact has"
    cut, document, _ = made(color_bundle, make_context(), ranges="percentile", percentile=90.0)
    assert document["ranges"] == "percentile"
    narrower = Scheme.model_validate_json(cut.read("exports/int8/quantization.json")).activations
    assert all(narrower[name][1] < found.activations[name][1] for name in ("stem", "mix"))
    less, _, _ = made(color_bundle, make_context(), ranges="percentile", percentile=60.0)
    other = Scheme.model_validate_json(less.read("exports/int8/quantization.json")).activations
    assert other["stem"][1] < narrower["stem"][1]


def test_one_scale_for_a_kernel_and_balanced_channels(color_bundle: Bundle, make_context: MakeContext) -> None:
    """The stem's channels differ a hundredfold, so that one scale leaves the small ones nothing."""
    network = load_network(color_bundle)
    stem, mix = network.get_layer("stem"), network.get_layer("mix")
    factors = np.array([1.0, 0.01, 1.0, 1.0, 0.01, 1.0, 1.0, 1.0])
    stem.set_weights([np.asarray(stem.kernel) * factors, np.asarray(stem.bias) * factors])
    mix.set_weights([np.asarray(mix.kernel) / factors[:, None], np.asarray(mix.bias)])
    bundle = color_bundle.with_network(network_bytes(network))
    context = make_context()
    _, document, plain = made(bundle, make_context(), kernels="tensor")
    _, balanced, data = made(bundle, context, kernels="tensor", equalize=True)
    assert (document["kernels"], "equalized_pairs" in document) == ("tensor", False)
    assert balanced["equalized_pairs"] == context.details["equalized_pairs"] == 2
    for artefact in (plain, data):
        kernels = [tensor for tensor in inspect(artefact).tensors if len(tensor.shape) == 4 and tensor.constant_bytes]
        assert [tensor.channels for tensor in kernels] == [1, 1]
    assert error_of(data, bundle) < 0.5 * error_of(plain, bundle)


def test_given_ranges_are_taken_exactly_and_nothing_else_is_done(
    color_bundle: Bundle, make_context: MakeContext
) -> None:
    ranges = {"stem": (0.0, 3.0), "mix": (0.0, 2.5), "head_pool": (0.0, 2.0), "head_logits": (-9.0, 11.0)}
    bundle = with_scheme(color_bundle, Scheme(activations=ranges, kernels="tensor", method="trained"))
    done, document, data = made(bundle, make_context())
    assert (document["ranges"], document["kernels"], document["corrected"]) == ("trained", "tensor", False)
    facts = inspect(data)
    scales = [facts.tensors[op.outputs[0]].scale for op in facts.ops]
    assert scales == [pytest.approx((high - low) / 255, rel=1e-5) for low, high in ranges.values()]
    assert facts.output.zero_point == round(-128 + 9 / (20 / 255))
    assert read_scheme(done) == read_scheme(bundle)
    context = make_context()
    _, several, again = made(bundle, context, sets=3)
    assert (again, several["stability"]) == (data, {})
    assert "nothing; none was tried" in context.details["warnings"][0]
    assert several["trained"] is True
    for settings in ({"ranges": "mse"}, {"equalize": True}, {"equalize": True, "scheme": "int16x8"}):
        with pytest.raises(RequestError, match=r"came with quantization\.json"):
            made(bundle, make_context(), **settings)
    with pytest.raises(RequestError, match="trained with kernels='channel'"):
        made(with_scheme(color_bundle, Scheme(activations=ranges, method="trained")), make_context(), kernels="tensor")
    with pytest.raises(RequestError, match="trained with kernels='tensor'"):
        made(bundle, make_context(), kernels="channel")


def test_a_trained_network_keeps_its_kernels_in_every_form(color_bundle: Bundle, make_context: MakeContext) -> None:
    ranges = {"stem": (0.0, 3.0), "mix": (0.0, 2.5), "head_pool": (0.0, 2.0), "head_logits": (-9.0, 11.0)}
    bundle = with_scheme(color_bundle, Scheme(activations=ranges, kernels="tensor", method="trained"))
    for scheme in ("int16x8", "int8-weights"):
        context = make_context()
        _, document, _ = made(bundle, context, scheme=scheme, photos=2)
        assert (document["corrected"], document["trained"]) == (False, True)
        assert document["kernels"] == ("tensor" if scheme == "int8-weights" else "channel")
        told = " ".join(context.details.get("warnings", ()))
        assert ("shows 2 of 3 classes" in told) == (scheme == "int16x8"), "where ranges hang on the photos"
        assert ("cannot give a depthwise kernel one scale" in told) == (scheme == "int16x8")
    context = make_context()
    made(bundle, context, photos=2)
    assert "warnings" not in context.details, "its ranges are given"
    channel = with_scheme(color_bundle, Scheme(activations=ranges, method="trained"))
    for scheme in ("int16x8", "int8-weights"):
        with pytest.raises(RequestError, match="trained with kernels='channel'"):
            made(channel, make_context(), scheme=scheme, kernels="tensor")
    with pytest.raises(RequestError, match="cannot give a depthwise kernel one scale"):
        made(color_bundle, make_context(), scheme="int16x8", kernels="tensor")


def test_a_given_range_of_a_layer_that_is_not_stored_is_refused(
    color_bundle: Bundle, make_context: MakeContext
) -> None:
    bundle = with_scheme(color_bundle, Scheme(activations={"absent": (0.0, 1.0)}, method="trained"))
    with pytest.raises(ExportError, match="'absent' a range, but no artefact stores"):
        made(bundle, make_context())


def test_stability_is_the_spread_over_sets(color_bundle: Bundle, make_context: MakeContext) -> None:
    context = make_context()
    _, document, data = made(color_bundle, context, photos=6, sets=2)
    found = document["stability"]
    assert context.details["stability"] == found
    assert (found["sets"], found["seeds"], found["split"], found["n"]) == (2, [3, 4], "val", 6)
    assert len(set(found["hashes"])) == 2, "each set is of other photos"
    assert found["hashes"][0] == document["representative"]["hash"]
    assert (found["min"], found["max"]) == (min(found["top1"]), max(found["top1"]))
    _, alone, same = made(color_bundle, make_context(), photos=6)
    assert same == data, "the first set's is the artefact"
    assert "stability" not in alone
    whole = make_context()
    made(color_bundle, whole, photos=1000, sets=2)
    assert "sets are the same" in whole.details["warnings"][0]


def test_the_spread_by_hand() -> None:
    found = spread_of([0.5, 0.8, 0.6, 0.7])
    assert (found["sets"], found["min"], found["max"]) == (4, 0.5, 0.8)
    assert found["spread"] == pytest.approx(0.3)
    assert found["mean"] == pytest.approx(0.65)
    assert found["standard_deviation"] == pytest.approx((0.05 / 3) ** 0.5)
    assert spread_of([0.5])["standard_deviation"] == 0


@pytest.mark.parametrize(
    ("scheme", "dtypes", "runs", "error"),
    [
        ("int8-weights", {"float32", "int8", "int32"}, False, 0.02),
        ("int16x8", {"float32", "int16", "int8", "int32", "int64"}, True, 0.05),
        ("float16", {"float32", "float16", "int32"}, False, 0.01),
    ],
)
def test_the_other_forms(
    scheme: str,
    dtypes: set[str],
    runs: bool,
    error: float,
    color_bundle: Bundle,
    quantized: Bundle,
    make_context: MakeContext,
) -> None:
    wide = _widened(color_bundle) if scheme == "int8-weights" else color_bundle
    context = make_context()
    done, document, data = made(wide, context, scheme=scheme)
    facts = inspect(data)
    assert (facts.input.dtype, facts.output.dtype) == ("float32", "float32")
    assert {tensor.dtype for tensor in facts.tensors} <= dtypes
    assert (document["name"], document["dtype"], document["tflm"]["runs"]) == (scheme, scheme, runs)
    assert bool(context.details.get("warnings")) != runs
    if runs:
        pytest.importorskip("tflite_micro")
        device = open_runtime("tflm", data).run(PHOTOS[:3])
        np.testing.assert_allclose(device, open_runtime("litert", data).run(PHOTOS[:3]), atol=0.01)
    else:
        assert f"does not run exports/{scheme}" in context.details["warnings"][-1]
        with pytest.raises(ExportError):
            open_runtime("tflm", data).run(PHOTOS[:1])
    assert error_of(data, wide) < error
    (found,) = verify(done, VerifyConfig(), make_context()).read_json("verify.json")["exports"]
    assert set(found["runtimes"]) == {"keras", "litert"} | ({"litert_reference", "tflm"} if runs else set())
    assert found["passed"]
    if runs:
        assert found["runtimes"]["tflm"]["max_lsb"] <= 1
    both = quantize(quantized, QuantizeConfig(scheme="float16"), make_context())
    assert both.exports == ("float16", "int8"), "each has a name of its own"
    assert done.read("labels.json") == color_bundle.read("labels.json")


def _widened(bundle: Bundle) -> Bundle:
    """With a dense layer of enough weights that the converter makes integers of them."""
    import keras

    network = load_network(bundle)
    head = network.get_layer("head_logits")
    x = keras.layers.Dense(160, activation="relu", name="wide")(network.get_layer("head_pool").output)
    wide = keras.Model(network.inputs[0], keras.layers.Dense(3, name="logits")(x))
    random = np.random.default_rng(0)
    wide.get_layer("wide").set_weights([random.uniform(0, 0.1, (8, 160)), np.zeros(160)])
    wide.get_layer("logits").set_weights([random.normal(0, 0.01, (160, 3)), np.asarray(head.bias)])
    return bundle.with_network(network_bytes(wide))


def test_what_a_device_lacks_is_named_with_the_step_that_replaces_it(
    color_bundle: Bundle, make_context: MakeContext
) -> None:
    import keras

    from featherlite.models.surgery.rebuild import rebuild

    def with_activation(name: str) -> Bundle:
        def change(layer: Any, inputs: Any) -> Any:
            layer.activation = keras.activations.linear
            return keras.layers.Activation(name, name="odd")(layer(inputs))

        return color_bundle.with_network(network_bytes(rebuild(load_network(color_bundle), {"mix": change})))

    context = make_context()
    _, document, _ = made(with_activation("gelu"), context)
    assert not document["tflm"]["runs"]
    assert (
        "GELU (layers 'odd'). Put another activation in its place (swap_activation)" in context.details["warnings"][0]
    )
    with pytest.raises(ExportError, match=r"not in int8: ELU \(layer 'odd'\)") as caught:
        made(with_activation("elu"), make_context())
    assert "swap_activation" in caught.value.hint
    assert "fold" in caught.value.hint


def test_a_float_artefact_is_judged_by_float_kernels(color_bundle: Bundle, make_context: MakeContext) -> None:
    """Of the generalized mean's EXP and LOG TensorFlow Lite Micro has kernels in float32 alone."""
    import keras

    photo = keras.Input((24, 24, 3), name="photo")
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="stem")(photo)
    network = keras.Model(photo, build_head(x, 3, HeadOrder(pool="gem")))
    pooled = color_bundle.with_network(network_bytes(network))
    assert made(pooled, make_context())[1]["tflm"]["runs"] is False
    assert make(pooled, "float32", make_context()).refused == ""


def test_a_layer_that_is_used_twice_is_refused(color_bundle: Bundle, make_context: MakeContext) -> None:
    """It has two outputs, and would get the range and the correction of one of them."""
    import keras

    photo = keras.Input((24, 24, 3), name="photo")
    twice = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    x = keras.layers.GlobalAveragePooling2D()(twice(twice(photo)))
    shared = color_bundle.with_network(network_bytes(keras.Model(photo, keras.layers.Dense(3, name="logits")(x))))
    with pytest.raises(RequestError, match="uses the layer 'twice' more than once"):
        made(shared, make_context())
    assert made(shared, make_context(), scheme="float16")[0].exports == ("float16",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 99.0}, "percentile does nothing with ranges='minmax'"),
        ({"ranges": "mse", "scheme": "int16x8"}, "ranges does nothing with scheme='int16x8'"),
        ({"sets": 3, "scheme": "int8-weights"}, "sets does nothing"),
        ({"kernels": "tensor", "scheme": "float16"}, "kernels does nothing"),
        ({"equalize": True, "scheme": "float16"}, "equalize does nothing"),
        ({"photos": 20, "scheme": "float16"}, "photos does nothing"),
        ({"seed": 3, "scheme": "float16"}, "seed does nothing"),
        ({"correct": False, "scheme": "float16"}, "correct does nothing"),
        ({"plan_memory": False, "scheme": "int8-weights"}, "plan_memory does nothing"),
        ({"ranges": "moving"}, "one of entropy, minmax, mse, percentile, got 'moving'"),
        ({"scheme": "int4"}, "int8-weights"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QuantizeConfig(**settings)


def test_former_ranges_do_not_stay_beside_a_new_artefact(quantized: Bundle, make_context: MakeContext) -> None:
    stale = quantized.with_files({"exports/int8/old.json": json.dumps({}).encode()})
    done, _, _ = made(stale, make_context())
    assert "exports/int8/old.json" not in done


def test_what_no_microcontroller_takes_gets_no_plan_of_its_memory(color_bundle: Bundle, make_context: Any) -> None:
    planned = {
        scheme: prepare(color_bundle, QuantizeConfig(scheme=scheme, photos=12), 0, make_context()).making.plan_memory
        for scheme in ("int8", "int16x8", "int8-weights")
    }
    assert planned == {"int8": True, "int16x8": True, "int8-weights": False}


@pytest.mark.parametrize("scheme", ["int8", "int16x8", "int8-weights"])
def test_a_dense_kernel_has_one_scale_and_a_convolution_its_channels(
    scheme: str, color_bundle: Bundle, make_context: MakeContext
) -> None:
    """Libraries for boards take the first scale of a dense kernel for all of it."""
    import keras

    # Of fewer weights than 1,024 the converter would leave kernels in float where weights alone are integers.
    photo = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(400, 1, strides=4, activation="relu")(photo)
    x = keras.layers.Conv2D(400, 1, activation="relu")(keras.layers.GlobalAveragePooling2D(keepdims=True)(x))
    network = keras.Model(photo, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    _, _, data = made(color_bundle.with_network(network_bytes(network)), make_context(), scheme=scheme)
    facts = inspect(data)
    scales = [(op.name, facts.tensors[op.inputs[1]].channels) for op in facts.ops if len(op.inputs) > 2]
    assert scales == [("CONV_2D", 400), ("CONV_2D", 400), ("FULLY_CONNECTED", 1)]
