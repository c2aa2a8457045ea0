"""Low light."""

from __future__ import annotations

from typing import Any

from featherlite.training.augment.weather._light import between, decoded, encoded, per_photo
from featherlite.training.augment.weather.sensor_noise import grain

__all__ = ["low_light"]


def low_light(light: Any, strength: Any, free: Any) -> Any:
    """The photos taken at dusk: a share of the light is left, and with it the noise of a sensor that gets little."""
    electrons = per_photo(between(900.0, 70.0, strength))
    scene = decoded(light)
    return encoded((scene + grain(scene, electrons, 3.0, free)) * per_photo(between(0.5, 0.04, strength)))
