"""The int8 artefact computed in float: on its levels, with the weights taken back, and against LiteRT itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.convert import convert
from featherlite.models.logits import network_logits
from featherlite.models.network import network_bytes, network_from
from featherlite.models.surgery.folding import fold_batchnorm
from featherlite.quantize.fake_quantization import FakeRange
from featherlite.quantize.measured import measured_scheme
from featherlite.quantize.points import apart, points
from featherlite.quantize.scheme import Scheme
from featherlite.quantize.simulation import fake_quantized, settled, unsimulated
from featherlite.runtime.interpreter import open_runtime

L = keras.layers


def photos(count: int, seed: int) -> NDArray[np.uint8]:
    """Patches of color with some noise: uint8 [n, 32, 32, 3]."""
    random = np.random.default_rng(seed)
    patches = np.kron(random.uniform(0, 256, (count, 4, 4, 3)), np.ones((1, 8, 8, 1)))
    return np.clip(patches + random.normal(0, 15, patches.shape), 0, 255).astype(np.uint8)


def block_network(activation: str, *, joined: bool = False) -> Any:
    """Inverted residuals with BatchNorm that knows its inputs; `joined`: with average pooling and a concatenation."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = L.Activation(activation, name="stem_act")(L.BatchNormalization(momentum=0.5, name="stem_norm")(x))
    for number in range(2):
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"deep_{number}")(x)
        y = L.Activation(activation)(L.BatchNormalization(momentum=0.5)(y))
        y = L.BatchNormalization(momentum=0.5)(L.Conv2D(8, 1, use_bias=False, name=f"flat_{number}")(y))
        x = L.Add(name=f"add_{number}")([x, y])
    if joined:
        x = L.AveragePooling2D(2, name="pool")(x)
        x = L.Concatenate(name="join")([x, L.Conv2D(8, 3, padding="same", name="side")(x)])
    x = L.Conv2D(24, 1, activation=activation, name="last")(x)
    x = L.GlobalAveragePooling2D(name="head_pool")(x)
    network = keras.Model(inputs, L.Dense(5, name="head_logits")(x), name="blocks")
    shown = (photos(32, 1).astype(np.float32) - 128) / 128
    for _ in range(8):
        network(shown, training=True)
    return network


Prepared = tuple[Any, Scheme]


@pytest.fixture(scope="module")
def prepared() -> Callable[..., Prepared]:
    known: dict[str, Prepared] = {}

    def make(activation: str = "relu6", kernels: Any = "channel", **options: Any) -> Prepared:
        name = repr((activation, kernels, options))
        if name not in known:
            network = apart(fold_batchnorm(block_network(activation, **options)))
            known[name] = network, measured_scheme(network, photos(48, 3), "minmax", kernels=kernels)
        return known[name]

    return make


def test_all_that_an_artefact_stores_lies_on_its_levels(prepared: Callable[..., Prepared]) -> None:
    network, scheme = prepared("relu", joined=True)
    simulated = fake_quantized(network, scheme)
    ranges = {layer.name: layer for layer in simulated.layers if isinstance(layer, FakeRange)}
    # add_1 and side are joined: one range; the input's stands beside those of the points.
    assert set(ranges) == {"photo_range", *(f"{name}_range" for name in points(network) if name != "side")}
    assert scheme.activations["add_1"] == scheme.activations["side"]
    taps = keras.Model(simulated.inputs, [simulated.get_layer("join").output, simulated.output])
    joined, logits = taps.predict_on_batch((photos(4, 5).astype(np.float32) - 128) / 128)
    for values, point in ((joined, "add_1"), (logits, "head_logits")):
        low, high = scheme.activations[point]
        places = values / ((high - low) / 255)
        np.testing.assert_allclose(places, np.rint(places), atol=1e-2)
        assert len(np.unique(np.rint(places))) > 4
    assert {layer.name for layer in network.layers if layer.weights} <= {layer.name for layer in simulated.layers}


def test_the_input_is_whole_pixels(prepared: Callable[..., Prepared]) -> None:
    simulated = fake_quantized(*prepared())
    pixels = (photos(2, 5).astype(np.float32) - 128) / 128
    near = pixels + 0.4 / 128
    np.testing.assert_array_equal(simulated.predict_on_batch(near), simulated.predict_on_batch(pixels))


def test_the_weights_go_back_into_an_ordinary_network(prepared: Callable[..., Prepared]) -> None:
    network, scheme = prepared()
    network = keras.models.clone_model(network)
    network.set_weights(prepared()[0].get_weights())
    simulated = fake_quantized(network, scheme, movement="learned", pace=2.0)
    assert "range" not in repr([layer.name for layer in network.layers])
    random = np.random.default_rng(0)
    for layer in simulated.layers:  # as training would
        moved = [value + random.normal(0, 0.05, value.shape) for value in layer.get_weights()]
        layer.set_weights(moved)
    trained = settled(network, simulated, scheme, "trained")
    assert trained.method == "trained"
    assert trained.activations != scheme.activations
    stored = network_from(network_bytes(network))  # stock layers alone: others are refused
    again = fake_quantized(stored, trained)
    expected = network_logits(simulated, photos(16, 5))
    np.testing.assert_allclose(network_logits(again, photos(16, 5)), expected, atol=1e-4)
    assert np.abs(network_logits(fake_quantized(*prepared()), photos(16, 5)) - expected).max() > 0.01
    kernel = stored.get_layer("flat_0").get_weights()[0].reshape(-1, 8)
    places = kernel / (np.abs(kernel).max(axis=0) / 127)
    np.testing.assert_allclose(places, np.rint(places), atol=1e-3)
    once_more = settled(stored, again, trained, "trained").activations
    for name, limits in trained.activations.items():
        np.testing.assert_allclose(once_more[name], limits, rtol=1e-5, atol=1e-12)


def test_a_scheme_of_another_network_is_refused(prepared: Callable[..., Prepared]) -> None:
    network, scheme = prepared()
    fewer = {name: one for name, one in scheme.activations.items() if name != "add_0"}
    with pytest.raises(RequestError, match="no range for the point 'add_0'"):
        fake_quantized(network, scheme.model_copy(update={"activations": fewer}))
    more = scheme.activations | {"ghost": (0.0, 1.0)}
    with pytest.raises(RequestError, match="the network has not, the point 'ghost'"):
        fake_quantized(network, scheme.model_copy(update={"activations": more}))


def test_layers_that_round_within_are_named() -> None:
    x = inputs = keras.Input((8, 8, 3))
    x = L.Activation("gelu", name="bell")(L.Conv2D(4, 3, name="plain")(x))
    x = L.LayerNormalization(name="norm")(L.Activation("swish", name="swish")(x))
    assert unsimulated(keras.Model(inputs, L.Flatten()(x))) == ["bell", "norm"]


def off_by(network: Any, scheme: Scheme, folder: Path) -> NDArray[np.float64]:
    """By how many of the artefact's steps LiteRT's reference kernels and the simulation differ, for each logit."""
    model, artefact = folder / "m.keras", folder / "m.tflite"
    model.write_bytes(network_bytes(network))
    convert(model, artefact, "int8", photos(48, 3), ranges=scheme.activations, kernels=scheme.kernels)
    runtime = open_runtime("litert_reference", artefact)
    logits, shown = network_logits(fake_quantized(network, scheme), photos(64, 9)), photos(64, 9)
    low, high = scheme.activations["head_logits"]
    answers = runtime.run(shown)
    steps = np.abs(answers - logits) / ((high - low) / 255)
    assert len(np.unique(answers)) > 100, "the answers differ from photo to photo"
    return np.asarray(np.rint(steps), dtype=np.float64)


def test_litert_computes_what_the_simulation_does(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    """With ties, pooling, sums and kernels of one scale for each channel: one step of the logits apart, and seldom."""
    off = off_by(*prepared("relu", joined=True), tmp_path)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "kernels", "most", "share"),
    [("relu6", "channel", 1, 0), ("relu6", "tensor", 1, 0), ("silu", "channel", 2, 0.02)],
)
def test_litert_computes_it_in_other_forms(
    activation: str, kernels: str, most: int, share: float, prepared: Callable[..., Prepared], tmp_path: Path
) -> None:
    """Untrained networks whose logits span little: what falls to the other side of a half on the way adds up."""
    off = off_by(*prepared(activation, kernels), tmp_path)
    assert off.max() <= most
    assert (off > 1).mean() <= share


@pytest.mark.slow
def test_each_operation_rounds_as_the_simulation_does(prepared: Callable[..., Prepared], tmp_path: Path) -> None:
    """Why more than one step can add up: given its own inputs, no operation is off by more than halves that fall apart.

    The kernels multiply in fixed point and round twice, so that what lies within some hundredths of a half may fall to
    the other side of it.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    network, scheme = prepared("silu")
    off_by(network, scheme, tmp_path)
    interpreter = Interpreter(
        model_path=str(tmp_path / "m.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    details = {one["index"]: one for one in interpreter.get_tensor_details()}
    exact: dict[str, Callable[..., Any]] = {
        "MEAN": lambda x, *_: x.mean(axis=(1, 2)),
        "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
        "MUL": lambda x, y: x * y,
        "ADD": lambda x, y: x + y,
    }
    seen, worst, fell = set(), 0.0, []
    for photo in photos(4, 9):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (photo[None] ^ 128).view(np.int8))
        interpreter.invoke()
        for operation in interpreter._get_ops_details():
            if operation["op_name"] not in exact:
                continue
            given = []
            for index in operation["inputs"]:
                scale, zero = details[index]["quantization"]
                given.append((interpreter.get_tensor(index).astype(np.float64) - zero) * scale)
            scale, zero = details[operation["outputs"][0]]["quantization"]
            wanted = np.clip(exact[operation["op_name"]](*given) / scale + zero, -128, 127)
            found = interpreter.get_tensor(operation["outputs"][0]).astype(np.float64)
            worst = max(worst, float(np.abs(found - wanted).max()))
            fell.append(float((np.rint(wanted) != found).mean()))
            seen.add(operation["op_name"])
    assert seen == set(exact)
    assert worst < 0.55
    assert max(fell) < 0.1
