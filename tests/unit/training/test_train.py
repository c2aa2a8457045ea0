"""The step on a bundle."""

from __future__ import annotations

import subprocess
import sys

from featherlite.bundle import Bundle
from featherlite.step import load_step
from featherlite.training.train import TrainConfig, train


def test_the_step_trains_the_network_and_leaves_its_input_alone(color_bundle: Bundle, make_context) -> None:  # type: ignore[no-untyped-def]
    from featherlite.models.network import load_network

    before = color_bundle.read("model.keras")
    ctx = make_context()
    config = TrainConfig(head_epochs=1, epochs=1, batch=8, rate=0.001)
    after = train(color_bundle, config, ctx)
    assert color_bundle.read("model.keras") == before
    assert [entry["phase"] for entry in ctx.details["curve"]] == ["head", "all"]
    assert ctx.details["curve"][-1]["val_top1"] is not None
    network = load_network(after)
    assert network.output_shape == (None, 3)
    assert all(layer.trainable for layer in network.layers)
    assert not network.compiled
    assert after.labels == color_bundle.labels


def test_the_step_is_declared() -> None:
    found = load_step("train")
    assert found.config is TrainConfig
    assert found.needs == {"splits", "network", "preprocess"}
    assert found.provides == {"network"}
    assert not found.reads_test


def test_importing_step_and_config_loads_no_framework() -> None:
    code = (
        "import sys, featherlite.training.train, featherlite.training.fit\n"
        "print(sorted({'keras', 'tensorflow', 'pyarrow', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
