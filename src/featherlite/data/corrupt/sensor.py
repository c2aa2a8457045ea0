"""Sensor: the noise of few photons and of reading them out."""

from __future__ import annotations

import numpy as np

from featherlite.data.corrupt import corruption
from featherlite.data.corrupt._light import Floats

__all__ = ["sensor_noise", "with_noise"]


@corruption(family="train", kind="sensor", electrons=(600, 280, 130, 65, 32), read=(2.0, 2.5, 3.0, 3.5, 4.0))
def sensor_noise(scene: Floats, rng: np.random.Generator, *, electrons: float, read: float) -> Floats:
    """Sensor noise: shot noise, which grows with the root of the light, and read noise, which is everywhere."""
    return with_noise(scene, rng, electrons, read)


def with_noise(scene: Floats, rng: np.random.Generator, electrons: float, read: float) -> Floats:
    """The scene, float32 [h, w, 3] with 1 as white, as a sensor counts it that holds so many electrons on white.

    Variance = scene / electrons + (read / electrons)^2: the normal approximation of Poisson counts, plus read noise.

    Source: A. Foi et al., "Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data",
    IEEE TIP 17 (2008), equations 1 to 3.
    """
    deviation = np.sqrt(scene / np.float32(electrons) + np.float32((read / electrons) ** 2))
    return np.asarray(scene + deviation * rng.standard_normal(scene.shape, np.float32), np.float32)
