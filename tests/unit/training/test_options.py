"""Every key of the training's config changes what comes out: no option is there for show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from featherlite.step import Context
from featherlite.training.augment.config import AugmentConfig
from featherlite.training.config import FitConfig
from featherlite.training.fit import FitResult, fit

from .conftest import block_network, colored_photos

BASE: dict[str, Any] = {
    "head_epochs": 0,
    "epochs": 1,
    "batch": 8,
    "rate": 0.02,
    "augment": 0.3,
    "unlock": None,
    "ema": "none",
    "schedule": "constant",
    "warmup": 0.0,
}
FLAT: dict[str, Any] = {"schedule": "plateau", "epochs": 3, "rate": 1e-9, "plateau_patience": 1}
"""A rate at which the validation loss does not fall: each epoch is a plateau."""

OPTIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "head_epochs": ({}, 1),
    "head_rate": ({"head_epochs": 1, "epochs": 0}, 0.2),
    "head_augment": ({"head_epochs": 1, "epochs": 0}, True),
    "epochs": ({}, 2),
    "rate": ({}, 0.01),
    "batch": ({}, 6),
    "accumulate": ({}, 2),
    "schedule": ({}, "cosine"),
    "warmup": ({}, 0.9),
    "plateau_patience": (FLAT, 2),
    "plateau_factor": (FLAT, 0.9),
    "patience": ({"epochs": 4, "rate": 1e-9, "ema": 0.9}, 1),
    "unlock": ({}, 1),
    "unlock_stages": ({"epochs": 2}, 2),
    "unlock_rate_decay": ({"epochs": 2, "unlock_stages": 2}, 0.3),
    "progressive": ({"epochs": 2}, (8, 16)),
    "progressive_augment": ({"epochs": 2, "progressive": (8, 16)}, True),
    "freeze_batchnorm": ({}, True),
    "mixed_precision": ({}, True),
    "optimizer": ({}, "sgd"),
    "momentum": ({"optimizer": "sgd"}, 0.5),
    "weight_decay": ({}, 0.9),
    "l2": ({}, 0.1),
    "cosine": ({}, "absolute"),
    "cosine_weight": ({"cosine": "article"}, 0.9),
    "cosine_bits": ({"cosine": "absolute"}, 4),
    "clip_norm": ({}, 0.001),
    "clip_value": ({}, 0.0001),
    "ema": ({}, 0.9),
    "loss": ({}, "focal"),
    "focal_gamma": ({"loss": "focal"}, 1.0),
    "label_smoothing": ({}, 0.4),
    "class_weights": ({}, "balanced"),
    "effective_beta": ({"class_weights": "effective"}, 0.5),
    "sampling": ({}, "balanced"),
}
"""Each key with what else must be set for it to count, and another value."""

LOOKS: dict[str, tuple[dict[str, Any], Any]] = {
    "augment": ({}, 0.6),
    "flip": ({}, False),
    "rotate_deg": ({}, 90.0),
    "zoom": ({}, 0.1),
    "stretch": ({}, 0.5),
    "shift": ({}, 0.5),
    "perspective": ({}, 0.3),
    "brightness": ({}, 0.6),
    "contrast": ({}, 0.6),
    "saturation": ({}, 0.8),
    "hue": ({}, 0.3),
    "randaugment": ({}, 2),
    "randaugment_magnitude": ({"randaugment": 2}, 2.0),
    "weather": ({}, 1.0),
    "weather_kinds": ({"weather": 1.0}, ("defocus",)),
    "erase": ({}, 1.0),
    "mixup": ({}, 1.0),
    "cutmix": ({}, 1.0),
}
"""The same for the keys that change what a photo looks like."""

ELSEWHERE = {"keep_epochs"}
"""Keys that leave the network as it is: see test_epochs.py."""

TRAIN, VAL = colored_photos(24, 1), colored_photos(12, 2, "val")
UNEVEN = colored_photos(24, 1)
UNEVEN.labels[:] = [0] * 14 + [1] * 8 + [2] * 2


@pytest.fixture(autouse=True, scope="module")
def eager() -> Iterator[None]:
    """A few steps are done sooner than they are compiled."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], list[Any]]:
    """Weights and curve after a fit with these keys; equal keys are fitted once."""
    known: dict[str, list[Any]] = {}

    def fitted(keys: dict[str, Any]) -> list[Any]:
        name = repr(sorted(keys.items()))
        if name not in known:
            root, network = tmp_path_factory.mktemp("fit"), block_network(norm=True)
            ctx = Context(5, root, root / "resume", root / "cache")
            photos = UNEVEN if {"class_weights", "sampling"} & set(keys) else TRAIN
            judged = VAL if {"patience", "schedule"} & set(keys) else None
            result: FitResult = fit(network, photos, judged, FitConfig(**(BASE | keys)), ctx)
            assert all(np.isfinite(entry["loss"]) for entry in result.curve)
            assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
            assert all(layer.trainable for layer in network.layers)
            known[name] = [*network.get_weights(), np.float64([entry["rate"] for entry in result.curve])]
        return known[name]

    return fitted


def differs(first: list[Any], second: list[Any]) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("key", OPTIONS)
def test_every_key_changes_the_result(key: str, outcome: Callable[[dict[str, Any]], list[Any]]) -> None:
    context, value = OPTIONS[key]
    before = BASE | context
    assert before.get(key, FitConfig.model_fields[key].default) != value
    if key in ("class_weights", "sampling", "patience", "schedule"):  # the same photos on both sides
        context = context | {key: FitConfig.model_fields[key].default if key != "schedule" else "constant"}
    assert differs(outcome(context), outcome(context | {key: value}))


@pytest.mark.parametrize("key", LOOKS)
def test_every_key_of_the_augmentation_changes_what_is_seen(key: str) -> None:
    context, value = LOOKS[key]
    assert any(not np.array_equal(a, b) for a, b in zip(seen(context), seen(context | {key: value}), strict=True))


def test_what_is_seen_is_what_is_trained_on(outcome: Callable[[dict[str, Any]], list[Any]]) -> None:
    assert differs(outcome({}), outcome({"augment": 0.6}))


def seen(keys: dict[str, Any]) -> list[Any]:
    """Photos and targets of the first batch as the network gets them."""
    from featherlite.training.augment.layer import Augment
    from featherlite.training.batches import Batches

    config = FitConfig(**(BASE | keys))
    batches = Batches(TRAIN.images, TRAIN.labels, 3, config, seed=5, epoch=1, augmented=True)
    inputs, wanted = batches[0]
    return [np.asarray(Augment(config)(inputs)), wanted]


def test_no_key_is_left_out() -> None:
    assert set(OPTIONS) | set(LOOKS) | ELSEWHERE == set(FitConfig.model_fields)
    assert set(LOOKS) == set(AugmentConfig.model_fields)


def test_an_average_spans_about_an_epoch_unless_told_otherwise(outcome: Callable[[dict[str, Any]], list[Any]]) -> None:
    """24 photos in batches of 8 are three steps: auto is a momentum of 1 - 1/3."""
    auto = outcome({"ema": "auto"})
    assert not differs(auto, outcome({"ema": 1 - 1 / 3}))
    assert differs(auto, outcome({"ema": "none"}))
    assert differs(auto, outcome({"ema": 0.9}))


def test_every_key_is_explained_on_the_command_line() -> None:
    from featherlite.cli.step_command import step_parser
    from featherlite.step import load_step

    actions = {action.dest: action for action in step_parser(load_step("train"))._actions}
    for name in FitConfig.model_fields:
        assert len(actions[name].help or "") > 10, name
        assert f"--{name.replace('_', '-')}" in actions[name].option_strings


def test_registries_hold_what_the_config_names() -> None:
    """Adding a loss, an optimizer or a schedule is one entry and one word."""
    from featherlite.training.losses import LOSSES
    from featherlite.training.optimizers import OPTIMIZERS
    from featherlite.training.penalties import COSINES
    from featherlite.training.sampling import POWERS
    from featherlite.training.schedule import SCHEDULES

    for key, registry in (("loss", LOSSES), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("sampling", POWERS)):
        assert set(get_args(FitConfig.model_fields[key].annotation)) == set(registry)
    assert set(get_args(FitConfig.model_fields["cosine"].annotation)) == {"none", *COSINES}


@pytest.mark.parametrize(
    "key", ["momentum", "plateau_patience", "plateau_factor", "focal_gamma", "effective_beta", "cosine_bits"]
)
def test_a_setting_that_would_do_nothing_is_refused(key: str) -> None:
    needs, value = OPTIONS[key]
    FitConfig(**{**needs, key: value})
    with pytest.raises(ValidationError, match=f"{key} is a setting of .* and does nothing with"):
        FitConfig(**{key: value})


@pytest.mark.parametrize("key", ["unlock_rate_decay", "progressive_augment", "cosine_weight"])
def test_a_setting_without_what_it_changes_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} does nothing without"):
        FitConfig(**{key: OPTIONS[key][1]})
