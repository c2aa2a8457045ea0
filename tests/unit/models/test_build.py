"""The step `build`: an untrained network on a bundle, fixed by its seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.bundle import Bundle, Label
from featherlite.errors import MissingExtraError, RequestError
from featherlite.models.build import BuildConfig, build
from featherlite.step import Context, load_step

keras = pytest.importorskip("keras")

LABELS = Bundle().with_labels((Label(name="jay"), Label(name="wren"), Label(name="owl")))


def context(folder: Path, seed: int = 7) -> Context:
    return Context(seed=seed, scratch=folder, resume=folder, cache=folder)


def built(folder: Path, seed: int = 7, **options: Any) -> tuple[Bundle, Context]:
    ctx = context(folder, seed)
    return build(LABELS, BuildConfig(**{"width": 0.5, "input_px": 32} | options), ctx), ctx


def test_the_step_is_found_and_says_what_it_needs() -> None:
    step = load_step("build")
    assert step.needs == {"labels"}
    assert step.provides == {"network", "preprocess"}


def test_a_built_bundle_has_network_and_contract(tmp_path: Path) -> None:
    from featherlite.models.network import load_network

    bundle, ctx = built(tmp_path, fit="pad", dropout=0.4)
    network = load_network(bundle)
    assert network.input_shape == (None, 32, 32, 3)
    assert network.output_shape == (None, 3)
    assert [layer.name for layer in network.layers[-3:]] == ["head_pool", "head_dropout", "head_logits"]
    assert network.get_layer("head_dropout").rate == 0.4
    assert (bundle.preprocess.width, bundle.preprocess.height, bundle.preprocess.fit) == (32, 32, "pad")
    assert ctx.details["parameters"] == network.count_params()
    assert ctx.details["macs"] > 0
    assert "model.keras" not in LABELS


def test_logits_are_not_squashed(tmp_path: Path) -> None:
    from featherlite.models.network import load_network

    bundle, _ = built(tmp_path)
    photos = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    logits = load_network(bundle).predict(photos, verbose=0)
    assert logits.min() < 0.0
    assert np.abs(logits.sum(axis=1) - 1.0).min() > 1e-3


def test_the_seed_fixes_the_network_to_the_byte(tmp_path: Path) -> None:
    first, second, other = (built(tmp_path, seed)[0].read("model.keras") for seed in (7, 7, 8))
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "MobilNetV2"}, "Did you mean 'MobileNetV2'"),
        ({"head": "plan"}, "Did you mean 'plain'"),
        ({"input_px": 24}, "at least 32 px"),
        ({"backbone": "ResNet50", "width": 0.5}, "no option 'width'"),
        ({"backbone": "MobileNetV1", "weights": "imagenet", "width": 0.3}, "no ImageNet weights .* 0.25, 0.5, 0.75, 1"),
        ({"fit": "stretch"}, "crop"),
        ({"dropout": 1.0}, "less than 1"),
        ({"with": 1.0}, "Extra inputs"),
    ],
)
def test_wrong_configs_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BuildConfig(**options)


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no file .*gone\.weights\.h5"):
        built(tmp_path, weights=str(tmp_path / "gone.weights.h5"))


def test_a_cut_and_its_weights_come_from_a_file(tmp_path: Path) -> None:
    from featherlite.models.network import load_network

    donor = built(tmp_path)[0].read("model.keras")
    (tmp_path / "donor.keras").write_bytes(donor)
    bundle, ctx = built(tmp_path, seed=9, weights=str(tmp_path / "donor.keras"), cut="stage3_block2_add")
    network = load_network(bundle)
    assert not [layer for layer in network.layers if layer.name.startswith("stage4")]
    kernel = network.get_layer("stem_conv").get_weights()[0]
    donor_kernel = load_network(built(tmp_path)[0]).get_layer("stem_conv").get_weights()[0]
    np.testing.assert_array_equal(kernel, donor_kernel)
    assert len(ctx.details["weights_sha256"]) == 64


def test_without_keras_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featherlite\[train\]'"):
        built(tmp_path)


def test_offline_a_build_fails_or_starts_from_scratch_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from urllib.error import URLError

    from keras.src.utils import file_utils

    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    options: dict[str, Any] = {"backbone": "MobileNetV2", "width": 0.35, "input_px": 96, "weights": "imagenet"}
    with pytest.raises(RequestError, match=r"ImageNet weights of MobileNetV2 failed"):
        built(tmp_path, **options)
    bundle, ctx = built(tmp_path, offline="scratch", **options)
    assert "network" in bundle.provides()
    (warning,) = ctx.details["warnings"]
    assert "starts from scratch instead" in warning
