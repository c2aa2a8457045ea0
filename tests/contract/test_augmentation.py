"""What training may do to photos: nothing that the evaluation holds out."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import featherlite.training.augment
from featherlite.data.corrupt import corruptions
from featherlite.training.augment.config import ALL_OFF, WEATHER, AugmentConfig, Weather
from featherlite.training.config import FitConfig
from featherlite.training.train import TrainConfig

ROOM = Path(featherlite.training.augment.__file__).parent / "weather"


def test_training_never_sees_what_is_held_out() -> None:
    families = {name: one.family for name, one in corruptions().items()}
    assert "held_out" in families.values()
    for kind in WEATHER:
        assert families[kind] == "train", f"{kind} is held out: a score on it would no longer mean anything"
    assert set(get_args(Weather)) == set(WEATHER)


def test_training_has_what_the_project_promises() -> None:
    promised = "fog, rain, snow, low_light, glare, motion_blur, defocus, sensor_noise, jpeg"
    assert ", ".join(WEATHER) == promised


def test_each_kind_is_one_file_of_its_name() -> None:
    assert {file.stem for file in ROOM.glob("[!_]*.py")} == set(WEATHER)


def test_everything_new_is_off_by_default() -> None:
    config = TrainConfig()
    assert (config.perspective, config.randaugment, config.weather, config.cutmix) == (0, 0, 0, 0)
    assert set(ALL_OFF) <= set(AugmentConfig.model_fields) <= set(FitConfig.model_fields)


def test_every_augmentation_can_be_switched_off_by_one_key() -> None:
    from featherlite.training.augment.draws import SHAPES, names_of

    everything = {"weather": 1.0, "erase": 1.0, "cutmix": 1.0, "mixup": 1.0, "randaugment": 1, "perspective": 0.1}
    assert set(names_of(AugmentConfig(**everything))) == set(SHAPES)
    assert names_of(AugmentConfig(augment=0.0, **everything)) == ("affine", "color")
    assert names_of(AugmentConfig(**ALL_OFF)) == ("affine", "color")
