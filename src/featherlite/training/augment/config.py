"""How photos are augmented: the keys that training and the public layers share."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from featherlite.step import StepConfig

__all__ = ["ALL_OFF", "WEATHER", "AugmentConfig", "Weather"]

Weather = Literal["fog", "rain", "snow", "low_light", "glare", "motion_blur", "defocus", "sensor_noise", "jpeg"]
"""Kinds of the corruption suite's family `train`: what that suite holds out may never be trained on."""

WEATHER: tuple[Weather, ...] = get_args(Weather)


class AugmentConfig(StepConfig):
    """What may happen to a photo each time it is shown."""

    augment: float = Field(1.0, ge=0, le=3, description="multiplies the strengths below; 0 switches them all off")
    flip: bool = Field(True, description="mirror half of the photos left to right")
    rotate_deg: float = Field(20.0, ge=0, le=180, description="turn by up to so many degrees either way")
    zoom: float = Field(
        0.45,
        ge=0,
        lt=1,
        description="scale by 1/(1+zoom) .. 1+zoom, smaller as often as larger: 0.2 for 0.83 .. 1.2",
    )
    stretch: float = Field(0.15, ge=0, lt=1, description="change width against height by 1/(1+stretch) .. 1+stretch")
    shift: float = Field(0.15, ge=0, le=1, description="move by up to this share of the width and height")
    perspective: float = Field(
        0.0, ge=0, le=0.4, description="tilt: the nearer edges grow and the farther shrink by up to this share"
    )
    brightness: float = Field(0.3, ge=0, lt=1, description="multiply the light by 1 - this .. 1 + this")
    contrast: float = Field(0.3, ge=0, lt=1, description="spread the values about mid-grey by 1 - this .. 1 + this")
    saturation: float = Field(0.3, ge=0, le=1, description="color strength 1 - this .. 1 + this")
    hue: float = Field(0.03, ge=0, le=0.5, description="turn the colors by up to this share of the full circle")
    randaugment: int = Field(0, ge=0, le=8, description="RandAugment: so many drawn changes a photo; 0 for none")
    randaugment_magnitude: float = Field(9.0, ge=0, le=10, description="strength of those changes")
    weather: float = Field(
        0.0, ge=0, le=1, description="share of photos that get one drawn kind of weather or camera fault"
    )
    weather_kinds: tuple[Weather, ...] = Field(WEATHER, min_length=1, description="the kinds that are drawn from")
    erase: float = Field(0.0, ge=0, le=1, description="share of photos with one rectangle greyed out")
    mixup: float = Field(
        0.0, ge=0, le=4, description="blend pairs of photos and labels by a share from Beta(mixup, mixup); 0 for none"
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        le=4,
        description="paste a rectangle of another photo, its area from Beta(cutmix, cutmix), and mix the labels alike; "
        "where mixup is on too, each photo gets one of the two",
    )


ALL_OFF = {
    "flip": False,
    **dict.fromkeys(("rotate_deg", "zoom", "stretch", "shift", "perspective"), 0.0),
    **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0),
    **dict.fromkeys(("weather", "erase", "mixup", "cutmix"), 0.0),
    "randaugment": 0,
}
"""Keys under which nothing happens to a photo."""
