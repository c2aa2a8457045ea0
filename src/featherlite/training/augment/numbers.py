"""Where random numbers come from: NumPy's generator in training, a Keras seed generator in other people's pipelines."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

__all__ = ["Drawn", "InGraph", "Numbers"]


class Numbers(Protocol):
    """Random numbers, and the array functions (`xp`) that go with them: NumPy's or `keras.ops`."""

    @property
    def xp(self) -> Any:
        """NumPy or `keras.ops`."""

    def random(self, shape: Any) -> Any:
        """Numbers of this shape (an int or a tuple), uniform in [0, 1)."""

    def uniform(self, low: float, high: float, shape: Any) -> Any:
        """Numbers of this shape, uniform in [low, high)."""

    def beta(self, alpha: float, shape: Any) -> Any:
        """Numbers of this shape from Beta(alpha, alpha)."""

    def constant(self, value: Any) -> Any:
        """An array of fixed numbers, of the type that `xp` computes in."""


class Drawn:
    """Numbers from a NumPy generator, in float64: the same state gives the same numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.xp, self.rng = np, rng

    def random(self, shape: Any) -> Any:
        """Uniform in [0, 1)."""
        return self.rng.random(shape)

    def uniform(self, low: float, high: float, shape: Any) -> Any:
        """Uniform in [low, high)."""
        return self.rng.uniform(low, high, shape)

    def beta(self, alpha: float, shape: Any) -> Any:
        """From Beta(alpha, alpha)."""
        return self.rng.beta(alpha, alpha, shape)

    def constant(self, value: Any) -> Any:
        """float64."""
        return np.asarray(value, np.float64)


class InGraph:
    """Numbers from a Keras seed generator, in float32: drawn anew in every call of a layer."""

    def __init__(self, seeds: Any) -> None:
        from keras import ops

        self.xp, self.seeds = ops, seeds

    def random(self, shape: Any) -> Any:
        """Uniform in [0, 1)."""
        return self.uniform(0.0, 1.0, shape)

    def uniform(self, low: float, high: float, shape: Any) -> Any:
        """Uniform in [low, high)."""
        import keras

        return keras.random.uniform(_tuple(shape), low, high, dtype="float32", seed=self.seeds)

    def beta(self, alpha: float, shape: Any) -> Any:
        """From Beta(alpha, alpha)."""
        import keras

        return keras.random.beta(_tuple(shape), alpha, alpha, dtype="float32", seed=self.seeds)

    def constant(self, value: Any) -> Any:
        """float32."""
        return self.xp.convert_to_tensor(np.asarray(value, np.float32))


def _tuple(shape: Any) -> tuple[Any, ...]:
    return shape if isinstance(shape, tuple) else (shape,)
