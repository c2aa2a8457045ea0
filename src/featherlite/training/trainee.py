"""The network as it is trained: augmentation in front, AdamW and a loss behind, compiled once a phase."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.training.augment.draws import SHAPES, names_of
from featherlite.training.augment.layer import Augment
from featherlite.training.config import FitConfig

__all__ = [
    "AveragedAdamW",
    "RateTable",
    "compile_for",
    "on_accelerator",
    "optimizer_for",
    "set_precision",
    "trainee_of",
]

NOT_DECAYED = ["bias", "gamma", "beta"]


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


class AveragedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW whose running average of the weights stays beside them, instead of replacing them when `fit` returns."""

    def finalize_variable_values(self, var_list: Any) -> None:
        """Leaves the weights as they are."""

    def swap_averages(self) -> None:
        """Exchanges weights and their averages, bit for bit; a second call exchanges them back."""
        if not self.use_ema:
            return
        for weight, average in zip(self._trainable_variables, self._model_variables_moving_average, strict=True):
            kept = weight.numpy()
            weight.assign(average)
            average.assign(kept)


def optimizer_for(config: FitConfig, table: NDArray[np.float32], momentum: float | None = None) -> AveragedAdamW:
    """AdamW that follows the table of rates; biases and norms are not decayed; `momentum` is that of the averages.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization" (arXiv:1711.05101), algorithm 2.
    """
    optimizer = AveragedAdamW(
        learning_rate=RateTable(table),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm or None,
        use_ema=momentum is not None,
        ema_momentum=momentum or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def trainee_of(network: keras.Model, config: FitConfig) -> keras.Model:
    """A model that shares the network's weights and takes uint8 photos with the draws of their augmentation."""
    inputs = {"photos": keras.Input(network.input_shape[1:], dtype="uint8", name="photos")}
    inputs |= {name: keras.Input(SHAPES[name], name=name) for name in names_of(config)}
    return keras.Model(inputs, network(Augment(config, name="augment")(inputs)))


def compile_for(
    model: keras.Model, config: FitConfig, table: NDArray[np.float32], momentum: float | None = None
) -> AveragedAdamW:
    """Compiles the model for training on its trainable weights and returns the optimizer, built."""
    optimizer = optimizer_for(config, table, momentum)
    # XLA pays on accelerators; on a CPU it is several times slower for depthwise networks: "auto" knows.
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="top1")],
        jit_compile="auto",
    )
    optimizer.build(model.trainable_variables)
    return optimizer


def on_accelerator() -> bool:
    """Whether the backend computes on something other than the CPU."""
    return any(not device.lower().startswith("cpu") for device in keras.distribution.list_devices())


def set_precision(network: keras.Model, policy: str) -> None:
    """Lets the backbone compute under this dtype policy; the head and all weights stay float32."""
    for layer in network.layers:
        if not layer.name.startswith("head_") and not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = policy
