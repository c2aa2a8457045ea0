"""What every step promises, checked over the registry."""

from __future__ import annotations

import pytest

from featherlite.step import ROOMS, load_step, steps


def test_the_road_is_there() -> None:
    assert {"split", "build", "train", "quantize", "export", "evaluate", "verify"} <= set(steps())


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
