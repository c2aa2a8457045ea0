"""Optimizers by name: all with decoupled weight decay, clipping, accumulation and a running average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.training.config import FitConfig

__all__ = ["OPTIMIZERS", "Averaged", "RateTable", "is_kernel", "optimizer_for"]

NOT_DECAYED = ("bias", "gamma", "beta", "range")


def is_kernel(variable: Any) -> bool:
    """Whether a weight is decayed and penalized: biases, norms and learned ranges are not."""
    return not any(word in variable.name for word in NOT_DECAYED)


class RateTable(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The learning rate of each step, looked up: so that every backend follows the same NumPy numbers."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table

    def __call__(self, step: Any) -> Any:
        """The rate of this step; of the last one where the table is at its end."""
        last = len(self.table) - 1
        return ops.take(ops.convert_to_tensor(self.table), ops.minimum(ops.cast(step, "int32"), last))

    def get_config(self) -> dict[str, Any]:
        """The table as JSON."""
        return {"table": self.table.tolist()}


class Averaged(keras.optimizers.Optimizer):  # type: ignore[misc]
    """What all our optimizers share; stands before Keras's own rule in the bases.

    The running average of the weights stays beside them, instead of replacing them when `fit` returns. `rate_factor` is
    a variable: a rate can fall between epochs without compiling anew. `factors` multiplies the rate of single weights.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization" (arXiv:1711.05101), algorithms 1, 2.
    """

    def __init__(
        self,
        *,
        accumulate: int = 1,
        clip_value: float = 0.0,
        factors: Mapping[int, float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(gradient_accumulation_steps=accumulate if accumulate > 1 else None, **options)
        self.accumulate, self.clip_value = accumulate, clip_value
        self.factors_by_id = dict(factors or {})
        self.factors: dict[int, float] = {}
        self.swapped = False

    def build(self, variables: list[Any]) -> None:
        """Makes the state for these weights."""
        if self.built:
            return
        super().build(variables)
        self.factors = {place: self.factors_by_id.get(id(one), 1.0) for place, one in enumerate(variables)}
        self.rate_factor = self.add_variable((), initializer="ones", name="rate_factor")

    def _get_current_learning_rate(self) -> Any:
        # Keras counts micro-batches here, where a course is one of steps.
        return self._learning_rate(self.iterations) * self.rate_factor

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One weight's step at its own share of the rate."""
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate if factor == 1.0 else learning_rate * factor)

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        for variable in variables:
            if self.weight_decay is not None and is_kernel(variable):
                factor = self.factors[self._get_variable_index(variable)]
                rate = ops.cast(self.learning_rate, variable.dtype)
                decayed = variable * ops.cast(self.weight_decay, variable.dtype) * rate
                self.assign_sub(variable, decayed if factor == 1.0 else decayed * factor)

    def _clip_gradients(self, gradients: list[Any]) -> list[Any]:
        limit = self.clip_value
        if limit > 0:
            gradients = [ops.clip(gradient, -limit, limit) for gradient in gradients]
        clipped: list[Any] = super()._clip_gradients(gradients)
        return clipped

    def _update_model_variables_moving_average(self, trainable_variables: list[Any]) -> None:
        """Keras would average after every micro-batch: here only those count that end a step."""
        if self.accumulate == 1:
            super()._update_model_variables_moving_average(trainable_variables)
            return
        ends = ops.equal((self._iterations + 1) % self.accumulate, 0)
        begun = ops.not_equal(self.iterations, 0)
        for weight, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            momentum = ops.cast(begun, weight.dtype) * self.ema_momentum
            momentum = ops.where(ends, momentum, ops.ones_like(momentum))
            average.assign(momentum * average + (1 - momentum) * weight)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Leaves the weights as they are."""

    def swap_averages(self) -> None:
        """Exchanges weights and their averages, bit for bit; a second call exchanges them back.

        The average of weights under a constraint is brought back under it: that of columns of length one is shorter.
        """
        if not self.use_ema:
            return
        for weight, average in zip(self._trainable_variables, self._model_variables_moving_average, strict=True):
            kept = weight.numpy()
            # A weight on its way back was under its constraint: another time would change its last bit.
            free = self.swapped or weight.constraint is None
            weight.assign(average if free else weight.constraint(average))
            average.assign(kept)
        self.swapped = not self.swapped


class AveragedAdamW(Averaged, keras.optimizers.Adam):  # type: ignore[misc]
    """AdamW: Adam, whose weight decay is decoupled in `Averaged`."""


class AveragedSGD(Averaged, keras.optimizers.SGD):  # type: ignore[misc]
    """SGD with Nesterov's momentum."""


def _adamw(config: FitConfig, common: dict[str, Any]) -> Averaged:  # noqa: ARG001 - the signature of an optimizer
    return AveragedAdamW(**common)


def _sgd(config: FitConfig, common: dict[str, Any]) -> Averaged:
    return AveragedSGD(momentum=float(config.momentum), nesterov=config.momentum > 0, **common)


OPTIMIZERS: Mapping[str, Callable[[FitConfig, dict[str, Any]], Averaged]] = MappingProxyType(
    {"adamw": _adamw, "sgd": _sgd}
)


def optimizer_for(
    config: FitConfig,
    table: NDArray[np.float32],
    momentum: float | None = None,
    factors: Mapping[int, float] | None = None,
) -> Averaged:
    """The config's optimizer on this table of rates, one a step; biases and norms are not decayed.

    `momentum` is that of the averages; `factors` multiplies the rate of single weights, by their `id`.
    """
    common = {
        "learning_rate": RateTable(table),
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.clip_norm or None,
        "clip_value": config.clip_value,
        "accumulate": config.accumulate,
        "use_ema": momentum is not None,
        "ema_momentum": momentum or 0.99,
        "factors": factors,
    }
    return OPTIMIZERS[config.optimizer](config, common)
