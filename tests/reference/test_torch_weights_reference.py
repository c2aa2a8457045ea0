"""Weights in torch's naming against torch itself: features that timm's and torchvision's networks gave, without torch.

torch_features.json holds what they answered (make_torch_features.py wrote it); the weights are drawn by rule here too.
The file goes the whole way of a user's: safetensors beside a config.json whose mean and deviation are those of the
contract, so that folding them must change nothing and edges compare as well.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of

keras = pytest.importorskip("keras")
safetensors = pytest.importorskip("safetensors.numpy")

HERE = Path(__file__).parent
FACTS = json.loads((HERE / "torch_features.json").read_text())
QUICK = ("mobilenetv2_tv", "mobilenetv3_small_tf", "efficientnet_b0")
OURS = {"mean": [128 / 255] * 3, "std": [128 / 255] * 3}


def rule() -> Any:
    spec = importlib.util.spec_from_file_location("backbone_rule", HERE / "backbone_rule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RULE = rule()


def shapes_of(case: str) -> dict[str, tuple[int, ...]]:
    pairs = (entry.rpartition(":") for entry in FACTS["cases"][case]["tensors"].split())
    return {name: tuple(map(int, shape.split("x"))) for name, _, shape in pairs}


def drawn_file(case: str, folder: Path, wrapper: str = "") -> Path:
    """The case's state dict as a safetensors file, with counters as torch has them, beside a config.json."""
    tensors: dict[str, Any] = {wrapper + name: RULE.drawn(name, shape) for name, shape in shapes_of(case).items()}
    for name in [name for name in tensors if name.endswith("running_mean")]:
        tensors[name.replace("running_mean", "num_batches_tracked")] = np.array(7)
    path = folder / "model.safetensors"
    safetensors.save_file(tensors, path, metadata={"format": "pt"})
    config = {"architecture": FACTS["cases"][case]["network"], "num_classes": 10, "pretrained_cfg": OURS}
    (folder / "config.json").write_text(json.dumps(config))
    return path


def features(case: str, path: Path, **options: Any) -> Any:
    from featherlite.models.weights import build_backbone

    facts = FACTS["cases"][case]
    order = Order(card_of(facts["backbone"]), *FACTS["px"], facts["width"])
    network = build_backbone(order, weights=str(path), **options)
    photo = (RULE.photo(*FACTS["px"]).astype(np.float32) - 128) / 128
    return np.asarray(network(photo[None], training=False))[0]


def distance(case: str, found: Any) -> float:
    """Largest distance to torch's values, in their standard deviations."""
    facts = FACTS["cases"][case]
    assert list(found.shape) == facts["shape"]
    values = found.ravel()[RULE.places(found.size)]
    return float(np.abs(values - facts["values"]).max() / facts["deviation"])


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in QUICK else pytest.mark.slow) for case in FACTS["cases"]]
)
def test_features_are_those_of_torch(case: str, tmp_path: Path) -> None:
    found = features(case, drawn_file(case, tmp_path, "module.model." if case == "mobilenetv2_tv" else ""))
    assert distance(case, found) < 5e-4
    assert found.mean() == pytest.approx(FACTS["cases"][case]["mean"], abs=5e-4 * FACTS["cases"][case]["deviation"])


def test_the_layout_matters_and_can_be_chosen(tmp_path: Path) -> None:
    """The same names and shapes: only the layout that the weights were drawn for gives torch's features."""
    path = drawn_file("mobilenetv3_small", tmp_path)
    assert distance("mobilenetv3_small", features("mobilenetv3_small", path, layout="torch")) < 5e-4
    assert distance("mobilenetv3_small", features("mobilenetv3_small", path, layout="tensorflow")) > 0.02
