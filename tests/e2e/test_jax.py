"""The JAX backend walks the same road: the same ladder as TensorFlow's, from the same weights.

Both start from one file of weights and draw the same batches, cuts and colors (NumPy's), with no dropout, whose random
numbers are each backend's own. What differs then is the order in which numbers are added.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jax") is None, reason="needs the extra jax"),
]

TINY = Path(__file__).parent / "tiny.toml"
SAME = ("step", "id", "subject", "input_px", "classes", "parameters", "macs")
PHOTOS_APART = 1
"""How many of the few photos may be judged otherwise: one that lies on the border."""
BYTES_APART = 0.005
"""Weights that differ in their last bits leave another few bytes in an artefact."""


def call(backend: str, *words: object) -> dict[str, Any]:
    script = (
        "import sys; from featherlite.cli import main; code = main();"
        " import keras; assert keras.backend.backend() == {backend!r}; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script.format(backend=backend), *map(str, words), "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe from given weights, with a head that is fitted in place of one that is drawn."""
    from featherlite.models.backbones import Order, card_of
    from featherlite.models.heads import build_head
    from featherlite.models.weights import build_backbone

    place = tmp_path_factory.mktemp("jax")
    import keras

    keras.utils.set_random_seed(4)
    body = build_backbone(Order(card_of("feathernet"), 32, 32, 0.5))
    weights = place / "drawn.weights.h5"
    keras.Model(body.inputs[0], build_head(body.output, 3)).save_weights(weights)
    text = TINY.read_text("utf-8")
    assert text.count('step = "train"\n') == text.count('step = "build"\n') == 1
    text = text.replace('step = "build"\n', f'step = "build"\nweights = "{weights}"\ndropout = 0.0\n')
    text = text.replace('step = "train"\n', 'step = "probe"\nc = 10.0\nviews = 1\n\n[[steps]]\nstep = "train"\n')
    (place / "tiny.toml").write_text(text, "utf-8")
    return place / "tiny.toml"


@pytest.fixture(scope="module")
def ladders(recipe: Path, sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out")
    return {
        backend: call(backend, "run", recipe, "--data", sample_photos, "--out", out / backend)["rows"]
        for backend in ("tensorflow", "jax")
    }


def test_the_ladder_is_the_same(ladders: dict[str, Any]) -> None:
    first, second = ladders["tensorflow"], ladders["jax"]
    assert [row["step"] for row in first] == ["split", "build", "probe", "train", "quantize", "verify"]
    assert len(second) == len(first)
    for ours, theirs in zip(first, second, strict=True):
        for key in SAME:
            assert ours.get(key) == theirs.get(key), key
        if ours["subject"] == "network":
            assert ours["bytes"] == theirs["bytes"]
        elif ours["bytes"] is not None:
            assert theirs["bytes"] == pytest.approx(ours["bytes"], rel=BYTES_APART)


def test_the_scores_are_the_same(ladders: dict[str, Any]) -> None:
    compared = 0
    for ours, theirs in zip(*ladders.values(), strict=True):
        if ours.get("top1") and ours["step"] != "build":  # each backend draws an untaught head by its own generator
            count = ours["top1"]["n"]
            assert theirs["top1"]["n"] == count
            assert abs(theirs["top1"]["value"] - ours["top1"]["value"]) * count <= PHOTOS_APART + 1e-9, ours["step"]
            compared += 1
    assert compared >= 4


def test_the_artefact_made_under_jax_agrees_in_every_runtime_as_tensorflows_does(ladders: dict[str, Any]) -> None:
    """A network of so few steps is unsure of some photos, and int8 may turn those: no more of them than elsewhere."""
    theirs, ours = (ladders[backend][-1] for backend in ("tensorflow", "jax"))
    assert {"keras", "litert", "litert_reference"} <= set(ours["runtimes"]) == set(theirs["runtimes"])
    for name, found in ours["runtimes"].items():
        lost = theirs["runtimes"][name].get("agreement", 1.0) - found.get("agreement", 1.0)
        assert lost * ours["top1"]["n"] <= PHOTOS_APART + 1e-9, name
