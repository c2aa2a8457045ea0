"""The drawn augmentation, done inside the train step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from featherlite.training.augment.blend import blend
from featherlite.training.augment.color import recolor
from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.erase import erase
from featherlite.training.augment.geometry import compilable, resample
from featherlite.training.augment.randaugment import touch_up
from featherlite.training.augment.weather import under_weather

__all__ = ["Augment", "augmented"]


class Augment(keras.layers.Layer):  # type: ignore[misc]
    """Photos as the network sees them, changed as drawn: float32 [n, h, w, 3] in -1..127/128.

    Inputs by name: photos uint8 [n, h, w, 3], and the draws that `names_of(config)` names.
    """

    def __init__(self, config: AugmentConfig | None = None, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        self.config = config or AugmentConfig()
        self.supports_jit = compilable()

    def call(self, inputs: dict[str, Any]) -> Any:
        """Resamples, colors, lets weather come, erases and blends."""
        photos = (ops.cast(inputs["photos"], "float32") - 128.0) * (1.0 / 128.0)
        if self.config.augment == 0:  # the draws change nothing, and resampling to the same places costs as much
            return photos
        return augmented(photos, inputs, self.config)

    def compute_output_spec(self, inputs: dict[str, Any]) -> Any:
        """The shape and type of what comes out, without computing it."""
        return keras.KerasTensor(inputs["photos"].shape, dtype="float32")


def augmented(photos: Any, draws: dict[str, Any], config: AugmentConfig) -> Any:
    """Network inputs float32 [n, h, w, 3] in -1..127/128, changed as drawn: what has no draws is left out."""
    strength = config.augment
    photos = resample(photos, draws["affine"], projective=config.perspective * strength > 0)
    photos = recolor(photos, draws["color"])
    if "points" in draws:
        photos = touch_up(photos, draws["points"])
    if "weather" in draws:
        photos = under_weather(photos, draws["weather"], min(config.weather * strength, 1.0), config.weather_kinds)
    if "box" in draws:
        photos = erase(photos, draws["box"])
    if "share" in draws or "cut" in draws:
        photos = blend(photos, draws.get("share"), draws.get("cut"))
    return photos
