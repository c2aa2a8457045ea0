"""What every step promises, checked over the registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import pytest

from featherlite.bundle import Bundle
from featherlite.run import run_step
from featherlite.step import ROOMS, load_step, steps


def test_the_road_is_there() -> None:
    assert {"split", "build", "train", "probe", "quantize", "export", "evaluate", "verify"} <= set(steps())


@pytest.mark.parametrize("name", sorted(steps()))
def test_a_step_is_declared_in_full(name: str) -> None:
    entry, step = steps()[name], load_step(name)
    assert entry.room in ROOMS
    assert entry.summary, "the first line of the file says what comes out"
    assert step.config.model_config.get("frozen"), "configs are values"
    assert step.config.model_config.get("extra") == "forbid", "an unknown key must be told"
    step.config()  # every field has a default, so that a recipe may name the step alone


@pytest.mark.parametrize("name", sorted(steps()))
def test_every_setting_is_described(name: str) -> None:
    for key, field in load_step(name).config.model_fields.items():
        assert field.description, f"{name}.{key} needs a description: it is the flag's help"
        assert key == key.lower()
        assert "-" not in key


@pytest.mark.parametrize("name", sorted(steps()))
def test_a_config_survives_json(name: str) -> None:
    config = load_step(name).config()
    assert type(config).model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("name", sorted(steps()))
def test_the_command_gives_a_step_its_defaults_whatever_its_places_are_called(name: str) -> None:
    """A setting that is called like something of the command's own would get the bundle's folder for a value."""
    from featherlite.cli.arguments import parse
    from featherlite.cli.step_command import step_parser

    step = load_step(name)
    values = vars(step_parser(step).parse_args(["from", "to"]))
    config = parse(step.config, {key: values[key] for key in step.config.taken()}, name)
    assert config == step.config()
    assert {"from", "to"} <= set(values.values()), "and the command has its places"


@pytest.mark.parametrize("name", sorted(steps()))
def test_what_python_can_ask_for_can_be_typed_too(name: str) -> None:
    """Recipes and flags have no word for None, so None may only mean that nothing was given."""
    from featherlite.cli.arguments import parse
    from featherlite.cli.step_command import step_parser

    step = load_step(name)
    words = ["from", "to"]
    for key in step.config.taken():
        field = step.config.model_fields[key]
        if type(None) in get_args(field.annotation):
            assert field.default is None, f"{name}.{key}: nothing but Python could set it to None"
        flag, value = key.replace("_", "-"), field.get_default(call_default_factory=True)
        if field.annotation is bool:
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, str | int | float) and value != "":
            words.append(f"--{flag}={value}")
    values = vars(step_parser(step).parse_args(words))
    assert parse(step.config, {key: values[key] for key in step.config.taken()}, name) == step.config()


@pytest.mark.parametrize("name", sorted(steps()))
def test_what_a_step_has_no_use_for_is_neither_offered_nor_taken(name: str) -> None:
    from featherlite.cli.step_command import step_parser

    step = load_step(name)
    assert set(step.config.idle) <= set(step.config.model_fields)
    offered = {action.dest for action in step_parser(step)._actions}
    assert not offered & set(step.config.idle)


# ---- what a step that trains leaves behind -----------------------------------------------------------------------

TRAINING = sorted(name for name, entry in steps().items() if entry.room == "training")
QUICK: dict[str, dict[str, Any]] = {
    "train": {"head_epochs": 1, "epochs": 1, "batch": 8},
    "probe": {"c": 10.0},
    "distill": {"head_epochs": 0, "epochs": 1, "batch": 8, "views": 1},
}
"""Settings under which each is done in seconds."""


@pytest.fixture(scope="module")
def untrained(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with an untrained network of 32 px for the sample photos, on the disk."""
    place, cache = tmp_path_factory.mktemp("untrained"), Path(os.environ["FEATHERLITE_CACHE"])
    # No photos for validation: the last epoch is kept, however good it is.
    parted, _ = run_step("split", None, None, {"val": 0.0}, data=sample_photos, cache=cache)
    settings = {"backbone": "feathernet", "input_px": 32, "width": 0.5}
    return run_step("build", parted, place / "bundle", settings, data=sample_photos, cache=cache)[0]


def trained(name: str, bundle: Bundle, seed: int = 0) -> Bundle:
    settings = QUICK[name] | ({"teacher": (str(bundle.home),)} if name == "distill" else {})
    cache, data = Path(os.environ["FEATHERLITE_CACHE"]), Path(bundle.local()["data"])
    return run_step(name, bundle, None, settings, seed=seed, cache=cache, data=data)[0]


@pytest.mark.parametrize("name", TRAINING)
def test_training_keeps_what_is_not_its_own(name: str, untrained: Bundle, tmp_path: Path) -> None:
    from featherlite.models.network import load_network

    given = {file: untrained.read(file) for file in untrained.files}
    result = trained(name, untrained)
    assert {file: untrained.read(file) for file in untrained.files} == given, "a bundle is never changed in place"
    for file in ("labels.json", "preprocess.json", "splits.parquet"):
        assert result.read(file) == given[file]
    before, after = load_network(untrained), load_network(result)
    assert after.output_shape == before.output_shape
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    assert any((a != b).any() for a, b in zip(before.get_weights(), after.get_weights(), strict=True)), "it learned"
    result.save(tmp_path / "saved")
    assert Bundle.open(tmp_path / "saved").read("model.keras") == result.read("model.keras")
    again = trained(name, untrained)
    assert again.read("model.keras") == result.read("model.keras"), "the same seed gives the same network"


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINING)
def test_what_was_trained_still_exports(name: str, untrained: Bundle) -> None:
    cache = Path(os.environ["FEATHERLITE_CACHE"])
    data = Path(untrained.local()["data"])
    exported, _ = run_step("quantize", trained(name, untrained), None, {"photos": 6}, data=data, cache=cache)
    assert "int8" in exported.exports
