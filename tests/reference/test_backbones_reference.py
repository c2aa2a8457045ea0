"""Backbones of our own against torchvision's and timm's, given the same weights.

backbone_features.json holds what those answered; make_backbone_features.py wrote it. Nothing here needs torch.
"""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.models.backbones import Order, card_of, family_of

keras = pytest.importorskip("keras")

HERE = Path(__file__).parent
RULE = runpy.run_path(str(HERE / "backbone_rule.py"))
NETWORKS: dict[str, Any] = json.loads((HERE / "backbone_features.json").read_text())["networks"]
HEADS = {  # parameters behind our backbone in the published network, with a classifier of 1,000 classes
    "ResNet18": 512 * 1000 + 1000,
    "ResNet34": 512 * 1000 + 1000,
    "ResNet50": 2048 * 1000 + 1000,
    "SqueezeNet1_0": 512 * 1000 + 1000,
    "SqueezeNet1_1": 512 * 1000 + 1000,
    "AlexNet": 4096 * 1000 + 1000,
    "MobileNetV4ConvSmall": 960 * 1280 + 2 * 1280 + 1280 * 1000 + 1000,
}
SLOW = (("AlexNet", (224, 224)), ("ResNet34", (75, 100)), ("ResNet50", (75, 100)))
CASES = [
    pytest.param(name, px, id=f"{name}-{px[0]}x{px[1]}", marks=[pytest.mark.slow] if (name, px) in SLOW else [])
    for name, entry in NETWORKS.items()
    for px in [tuple(case["px"]) for case in entry["cases"]]
]
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def filled(name: str, height: int, width: int) -> Any:
    """Our network in torch's layout, with weights drawn by their name in torch's state dict."""
    card = card_of(name)
    family = family_of(card)
    model = family.build(Order(card, height, width, torch=True))
    named = dict(family.torch_names(card))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_weights(family, layer, named.pop(layer.name)))
    assert not named, f"no layer has these names: {sorted(named)}"
    return model


def _weights(family: Any, layer: Any, prefix: str) -> list[NDArray[Any]]:
    """Weights in Keras's order of weights and of axes, drawn in torch's."""
    drawn = RULE["drawn"]
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if isinstance(layer, keras.layers.BatchNormalization):
        return [drawn(f"{prefix}.{part}", shapes[0]) for part in ("weight", "bias", "running_mean", "running_var")]
    biases = [drawn(f"{prefix}.bias", shape) for shape in shapes[1:]]
    height, width, into, out = shapes[0]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [drawn(f"{prefix}.weight", (into, 1, height, width)).transpose(2, 3, 0, 1), *biases]
    if prefix.startswith("classifier"):
        inputs = into * 36 if layer.name == "fc6" else into
        kernel = family.torch_weight(layer.name, drawn(f"{prefix}.weight", (out, inputs)), shapes[0])
        return [kernel, *biases]
    return [drawn(f"{prefix}.weight", (out, into, height, width)).transpose(2, 3, 1, 0), *biases]


@pytest.mark.parametrize(("name", "px"), CASES)
def test_features_and_size_are_those_of_the_reference(name: str, px: tuple[int, int]) -> None:
    expected = next(case for case in NETWORKS[name]["cases"] if tuple(case["px"]) == px)
    model = filled(name, *px)
    x = ((RULE["photo"](*px) / 255 - MEANS) / DEVIATIONS).astype(np.float32)
    found = np.asarray(model.predict_on_batch(x[None])[0])
    assert list(found.shape) == expected["shape"]
    values = found.ravel()[RULE["places"](found.size)]
    np.testing.assert_allclose(values, expected["values"], rtol=1e-3, atol=1e-3 * expected["deviation"])
    assert found.mean() == pytest.approx(expected["mean"], rel=1e-4)
    assert found.std() == pytest.approx(expected["deviation"], rel=1e-4)
    if name != "AlexNet" or px == (224, 224):  # at smaller sizes its fc6 is smaller too
        trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        assert trained + HEADS[name] == NETWORKS[name]["parameters"]


def test_the_smallest_of_mobilenetv4_has_the_published_size() -> None:
    assert NETWORKS["MobileNetV4ConvSmall"]["parameters"] == pytest.approx(3.8e6, rel=0.01)  # Qin et al. 2024


@pytest.mark.parametrize(
    ("name", "top", "published"),
    [
        # torchvision's own counts, in its weights' facts
        ("ResNet18", 512 * 1000, 1.814e9),
        ("ResNet34", 512 * 1000, 3.664e9),
        ("SqueezeNet1_0", 13 * 13 * 512 * 1000, 0.819e9),
        ("SqueezeNet1_1", 13 * 13 * 512 * 1000, 0.349e9),
        ("AlexNet", 4096 * 1000, 0.714e9),
    ],
)
def test_macs_are_those_that_torchvision_states(name: str, top: int, published: float) -> None:
    assert card_of(name).macs + top == pytest.approx(published, abs=0.001e9)
