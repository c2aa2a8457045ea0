"""Sensor noise."""

from __future__ import annotations

from typing import Any

from keras import ops

from featherlite.training.augment.weather._light import between, decoded, encoded, normal, per_photo, seed_of

__all__ = ["grain", "sensor_noise"]


def sensor_noise(light: Any, strength: Any, free: Any) -> Any:
    """The photos with the shot and read noise of a small sensor at high gain."""
    scene = decoded(light)
    electrons = per_photo(between(900.0, 35.0, strength))
    return encoded(scene + grain(scene, electrons, 3.0, free))


def grain(scene: Any, electrons: Any, read: float, free: Any) -> Any:
    """Noise to add to linear light [n, h, w, 3], of which white frees so many electrons; `read` is the readout's own.

    Source: G. E. Healey and R. Kondepudy, "Radiometric CCD Camera Calibration and Noise Estimation" (PAMI 16, 1994):
    variance grows with the signal (Poisson), over that of the readout; here as a normal distribution.
    """
    deviation = ops.sqrt(scene / electrons + ops.square(read / electrons))
    return deviation * normal(seed_of(free[:, 3]), tuple(scene.shape[1:]))
