"""Weights of torch: names of every layer, axes, layouts, the input that is folded, and what the report says."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import RequestError
from featherlite.models.backbones import Order, backbones, card_of, family_of
from featherlite.models.build import BuildConfig, build
from featherlite.models.weights.matching import match
from featherlite.models.weights.namings import namings_of
from featherlite.models.weights.namings.naming import layout_told
from featherlite.models.weights.stored import Tensors
from featherlite.step import Context

keras = pytest.importorskip("keras")
safetensors = pytest.importorskip("safetensors.numpy")

NAMED = sorted(name for name, card in backbones().items() if namings_of(card))
QUICK = ("MobileNetV2", "MobileNetV3Small", "ResNet18")
LABELS = Bundle().with_labels((Label(name="jay"), Label(name="wren")))
NORM = ("weight", "bias", "running_mean", "running_var")


def tensors(shapes: dict[str, tuple[int, ...]], name: str = "w.safetensors", architecture: str = "") -> Tensors:
    return Tensors(Path(name), shapes, lambda _: np.zeros(0, np.float32), architecture)


def names_of(card: str, library: str) -> dict[str, tuple[int, ...]]:
    naming = next(naming for naming in namings_of(card_of(card)) if naming.library == library)
    return {f"{module}.weight": (1,) for module in naming.layers.values()}


def state_of(model: Any, layers: dict[str, str]) -> dict[str, Any]:
    """A state dict of torch for a model of convolutions and norms, drawn by seed."""
    rng, made = np.random.default_rng(0), {}
    for layer in model.layers:
        parts = NORM if isinstance(layer, keras.layers.BatchNormalization) else ("weight", "bias")
        for part, weight in zip(parts, layer.weights, strict=False):
            shape = tuple(weight.shape)
            if len(shape) == 4:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                shape = tuple(shape[axis] for axis in ((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))
            made[f"{layers[layer.name]}.{part}"] = rng.uniform(0.5, 1.0, shape).astype(np.float32)
    return made


# ---- names -----------------------------------------------------------------------------------------------------------


def test_these_backbones_take_weights_of_torch() -> None:
    assert {"ResNet18", "ConvNeXtTiny", "EfficientNetB0", "EfficientNetV2B0", "MobileNetV2"} <= set(NAMED)
    assert not {"feathernet", "MobileNetV1"} & set(NAMED)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NAMED])
def test_every_layer_with_weights_has_a_name_and_no_other(name: str) -> None:
    from featherlite.models.weights.assigning import leaves

    card = card_of(name)
    model = family_of(card).build(Order(card, 64, 64, torch=True))
    inputs = keras.layers.Normalization
    weighty = [layer.name for layer in leaves(model) if layer.weights and not isinstance(layer, inputs)]
    layers = {re.sub(r"^layer_normalization_\d+$", "layer_normalization", name) for name in weighty}
    for naming in namings_of(card):
        assert set(naming.layers) == layers, naming.library
        assert len(set(naming.layers.values())) == len(layers), naming.library


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("tf_efficientnet_b0", "tensorflow"),
        ("timm/tf_efficientnet_b0.in1k", "tensorflow"),
        ("efficientnet_b0.ra_in1k", "torch"),
        ("birdsoftf_x", "torch"),
    ],
)
def test_a_name_tells_the_layout(name: str, layout: str) -> None:
    assert layout_told(name) == layout


def test_the_layout_is_asked_for_or_told_by_the_architecture_or_by_the_name() -> None:
    card, names = card_of("EfficientNetB0"), names_of("EfficientNetB0", "timm")

    def found(layout: Any = None, name: str = "w.safetensors", architecture: str = "") -> tuple[Any, Any]:
        naming = match(tensors(names, name, architecture), card, layout).naming
        return naming.layout, naming.epsilon

    assert found() == ("torch", 1e-5)
    assert found(name="tf_efficientnet_b0.safetensors") == ("tensorflow", 1e-3)
    assert found(architecture="tf_efficientnet_b0") == ("tensorflow", 1e-3)
    assert found(name="tf_b0.safetensors", architecture="efficientnet_b0") == ("torch", 1e-5)
    assert found("torch", architecture="tf_efficientnet_b0") == ("torch", 1e-5)
    assert found("tensorflow") == ("tensorflow", 1e-3)


@pytest.mark.parametrize(
    ("name", "library", "layout"),
    [
        ("EfficientNetV2B0", "timm", "torch"),
        ("MobileNetV2", "timm", "tensorflow"),
        ("ConvNeXtTiny", "timm", "tensorflow"),
    ],
)
def test_a_layout_that_a_backbone_never_has_is_refused(name: str, library: str, layout: Any) -> None:
    with pytest.raises(RequestError, match=f"{name} has no weights of the layout '{layout}'"):
        match(tensors(names_of(name, library)), card_of(name), layout)


def test_libraries_are_told_apart_by_their_names_and_wrappers_are_stripped() -> None:
    for library, wrapper in (("timm", "module."), ("torchvision", "_orig_mod.backbone."), ("ConvNeXt", "")):
        shapes = {wrapper + name: shape for name, shape in names_of("ConvNeXtTiny", library).items()}
        found = match(tensors(shapes | {"head.fc.weight": (9, 768)}), card_of("ConvNeXtTiny"), None)
        assert (found.naming.library, found.prefix) == (library, wrapper)


# ---- axes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape", "wanted", "order", "through"),
    [
        ("Conv2D", (8, 3, 5, 7), (5, 7, 3, 8), (2, 3, 1, 0), (8, 3, 5, 7)),
        ("DepthwiseConv2D", (8, 1, 5, 7), (5, 7, 8, 1), (2, 3, 0, 1), (8, 1, 5, 7)),
        ("Dense", (8, 3), (3, 8), (1, 0), (8, 3)),
        ("Dense", (8, 3, 1, 1), (3, 8), (1, 0), (8, 3)),
        ("Conv2D", (8, 3), (1, 1, 3, 8), (2, 3, 1, 0), (8, 3, 1, 1)),
        ("LayerScale", (8, 1, 1), (8,), (0,), (8,)),
        ("Dense", (8, 3, 2, 2), (3, 8), (0, 1, 2, 3), (8, 3, 2, 2)),  # does not fit, and is shown as it is
    ],
)
def test_axes_are_turned_as_each_kind_of_layer_needs(
    kind: str, shape: tuple[int, ...], wanted: tuple[int, ...], order: tuple[int, ...], through: tuple[int, ...]
) -> None:
    from featherlite.models.weights.torch import _turned

    assert _turned(type(kind, (), {})(), shape, wanted) == (order, through)


# ---- the network that comes out --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV3Small in timm's naming, where both layouts have the same names."""
    card = card_of("MobileNetV3Small")
    path = tmp_path_factory.mktemp("v3") / "weights.safetensors"
    safetensors.save_file(state_of(family_of(card).build(Order(card, 32, 32)), dict(namings_of(card)[0].layers)), path)
    return path


def built(folder: Path, **options: Any) -> tuple[Any, Context]:
    from featherlite.models.network import load_network

    ctx = Context(seed=7, scratch=folder, resume=folder, cache=folder)
    config = BuildConfig(**{"backbone": "MobileNetV3Small", "input_px": 32} | options)
    return load_network(build(LABELS, config, ctx)), ctx


def backbone(weights: Path, **options: Any) -> Any:
    from featherlite.models.weights import build_backbone

    return build_backbone(Order(card_of("MobileNetV3Small"), 32, 32), weights=str(weights), **options)


def test_the_layout_can_be_set_and_is_reported(v3: Path, tmp_path: Path) -> None:
    network, ctx = built(tmp_path, weights=str(v3), weights_layout="tensorflow")
    assert network.get_layer("conv_bn").epsilon == 1e-3
    assert network.get_layer("conv").padding == "same"
    told = ctx.details["weights_naming"]
    assert (told["library"], told["layout"], told["input_told_by"]) == ("timm", "tensorflow", "the backbone's card")
    assert len(ctx.details["weights_sha256"]) == 64


def test_torchs_layout_and_imagenets_input_are_the_default(v3: Path) -> None:
    network = backbone(v3)
    assert network.get_layer("conv_bn").epsilon == 1e-5
    assert network.get_layer("conv_pad").padding == ((1, 1), (1, 1))
    assert network.get_layer("conv").padding == "valid"
    original = safetensors.load_file(v3)["conv_stem.weight"].transpose(2, 3, 1, 0)
    expected = original * (128 / (255 * np.array([0.229, 0.224, 0.225])))[:, None]
    np.testing.assert_allclose(network.get_layer("conv").get_weights()[0], expected, rtol=1e-5)


def test_a_config_beside_the_file_tells_input_and_layout(v3: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(v3.read_bytes())
    before = BuildConfig(weights=str(path)).files()
    figures = {"mean": [0.5] * 3, "std": [0.25, 0.5, 1.0]}
    text = json.dumps({"architecture": "tf_mobilenetv3_small_100", "pretrained_cfg": figures})
    (tmp_path / "config.json").write_text(text)
    assert set(BuildConfig(weights=str(path)).files()) - set(before) == {tmp_path / "config.json"}
    told: dict[str, Any] = {}
    network = backbone(path, record=told.__setitem__)
    original = safetensors.load_file(path)["conv_stem.weight"].transpose(2, 3, 1, 0)
    expected = original * (128 / (255 * np.array([0.25, 0.5, 1.0])))[:, None]
    np.testing.assert_allclose(network.get_layer("conv").get_weights()[0], expected, rtol=1e-5)
    assert told["weights_naming"]["input_told_by"] == "config.json"
    assert told["weights_naming"]["layout"] == "tensorflow"


def test_a_cut_network_takes_weights_of_torch(v3: Path) -> None:
    network = backbone(v3, after="expanded_conv_2_add")
    assert not [layer for layer in network.layers if layer.name.startswith("expanded_conv_3")]


# ---- features of torch's own -------------------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[2] / "reference"
RULE: dict[str, Any] = runpy.run_path(str(REFERENCE / "backbone_rule.py"))
FEATURES: dict[str, Any] = json.loads((REFERENCE / "backbone_features.json").read_text())["networks"]
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAY = [128 / 255] * 3
"""Mean and deviation under which a network of torch takes what ours do: (pixel - 128) / 128, so nothing is folded."""
TOPS: dict[str, dict[str, tuple[int, ...]]] = {
    "SqueezeNet1_1": {"classifier.1.weight": (9, 512, 1, 1), "classifier.1.bias": (9,)},
    "MobileNetV4ConvSmall": {
        "conv_head.weight": (1280, 960, 1, 1),
        **{f"norm_head.{part}": (1280,) for part in NORM},
        "classifier.weight": (9, 1280),
        "classifier.bias": (9,),
    },
    "ResNet34": {"fc.weight": (9, 512), "fc.bias": (9,)},
    "AlexNet": {"classifier.6.weight": (9, 4096), "classifier.6.bias": (9,)},
}
"""What stands behind the backbone in torch's state dict, with nine classes; AlexNet's fc6 and fc7 are named alike."""


def shapes_of(name: str, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """The state dict of a network of torch: the shape of each tensor by its name."""
    family = family_of(card_of(name))
    model = family.build(Order(card_of(name), height, width, torch=True))
    made = dict(TOPS[name])
    for layer, module in family.torch_names(card_of(name)).items():
        weights = [tuple(weight.shape) for weight in model.get_layer(layer).weights]
        if isinstance(model.get_layer(layer), keras.layers.BatchNormalization):
            made |= {f"{module}.{part}": weights[0] for part in NORM}
            made[f"{module}.num_batches_tracked"] = ()
            continue
        rows, columns, into, out = weights[0]
        made[f"{module}.weight"] = (out, into, rows, columns)
        if isinstance(model.get_layer(layer), keras.layers.DepthwiseConv2D):
            made[f"{module}.weight"] = (into, out, rows, columns)
        made |= {f"{module}.bias": shape for shape in weights[1:]}
    if name == "AlexNet":  # dense layers there, and fc6 reads 6x6 places whatever the size of the photo
        made |= {"classifier.1.weight": (4096, 256 * 36), "classifier.4.weight": (4096, 4096)}
    return made


@pytest.fixture
def drawn_file(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Writes a state dict drawn by rule beside such a config.json; gone after the test, for AlexNet's is 220 MB."""
    path = tmp_path / "model.safetensors"

    def write(name: str, px: tuple[int, int]) -> Path:
        drawn = {key: np.asarray(RULE["drawn"](key, shape)) for key, shape in shapes_of(name, *px).items()}
        safetensors.save_file(drawn, path, metadata={"format": "pt"})
        (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": GRAY, "std": GRAY}}))
        return path

    yield write
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("name", "px"),
    [
        ("SqueezeNet1_1", (75, 100)),
        ("MobileNetV4ConvSmall", (75, 100)),
        pytest.param("ResNet34", (75, 100), marks=pytest.mark.slow),
        pytest.param("AlexNet", (100, 160), marks=pytest.mark.slow),  # where fc6 takes on the pooling before it
    ],
)
def test_a_file_of_torch_gives_torchs_features(name: str, px: tuple[int, int], drawn_file: Callable[..., Path]) -> None:
    """The whole way of a file, as tests/reference checks the network alone: names, axes, dense layers, and no top."""
    from featherlite.models.weights import build_backbone

    told: dict[str, Any] = {}
    order = Order(card_of(name), *px)
    network = build_backbone(order, weights=str(drawn_file(name, px)), record=told.__setitem__)
    assert told["weights_naming"]["input_told_by"] == "config.json"
    photo = ((RULE["photo"](*px) / 255 - MEANS) / DEVIATIONS).astype(np.float32)
    found = np.asarray(network(photo[None], training=False))[0]
    expected = next(case for case in FEATURES[name]["cases"] if tuple(case["px"]) == px)
    assert list(found.shape) == expected["shape"]
    values = found.ravel()[RULE["places"](found.size)]
    np.testing.assert_allclose(values, expected["values"], rtol=1e-3, atol=1e-3 * expected["deviation"])
    assert found.mean() == pytest.approx(expected["mean"], rel=1e-3)
    assert found.std() == pytest.approx(expected["deviation"], rel=1e-3)


def test_an_unknown_layout_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="'auto', 'torch' or 'tensorflow'"):
        BuildConfig(weights_layout="jax")
