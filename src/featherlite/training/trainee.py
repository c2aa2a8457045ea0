"""The network as it is trained: augmentation in front, AdamW and a loss behind, compiled once a phase."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.training.config import FitConfig

__all__ = [
    "Augment",
    "AveragedAdamW",
    "RateTable",
    "compile_for",
    "on_accelerator",
    "optimizer_for",
    "set_precision",
    "trainee_of",
]

NOT_DECAYED = ["bias", "gamma", "beta"]


class Augment(keras.layers.Layer):  # type: ignore[misc]
    """Photos as the network sees them, changed as drawn: float32 [n, h, w, 3] in -1..127/128.

    Inputs by name: photos uint8 [n, h, w, 3]; affine [n, 8]; color [n, 3, 4]; where used box [n, 4], share [n].
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        # TensorFlow has no XLA kernel for its projective transform; elsewhere it is made of plain operations.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, inputs: dict[str, Any]) -> Any:
        """Resamples, colors, erases and blends."""
        photos = (ops.cast(inputs["photos"], "float32") - 128.0) * (1.0 / 128.0)
        height, width = photos.shape[1], photos.shape[2]
        moved = ops.image.affine_transform(
            photos, inputs["affine"], interpolation="bilinear", fill_mode="reflect", data_format="channels_last"
        )
        matrix = ops.transpose(inputs["color"][:, :, :3], (0, 2, 1))
        colored = ops.matmul(ops.reshape(moved, (-1, height * width, 3)), matrix) + inputs["color"][:, None, :, 3]
        photos = ops.reshape(ops.clip(colored, -1.0, 127.0 / 128.0), (-1, height, width, 3))
        if "box" in inputs:
            photos = photos * _outside(inputs["box"], height, width)
        if "share" in inputs:
            share = inputs["share"][:, None, None, None]
            photos = share * photos + (1.0 - share) * ops.flip(photos, axis=0)
        return photos

    def compute_output_spec(self, inputs: dict[str, Any]) -> Any:
        """The shape and type of what comes out, without computing it."""
        return keras.KerasTensor(inputs["photos"].shape, dtype="float32")


def _outside(box: Any, height: int, width: int) -> Any:
    x = ops.arange(width, dtype="float32")[None, None, :, None]
    y = ops.arange(height, dtype="float32")[None, :, None, None]
    left, top, right, bottom = (box[:, side][:, None, None, None] for side in range(4))
    inside = ops.logical_and(ops.logical_and(x >= left, x < right), ops.logical_and(y >= top, y < bottom))
    return 1.0 - ops.cast(inside, "float32")


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
    shape = network.input_shape[1:]
    inputs = {
        "photos": keras.Input(shape, dtype="uint8", name="photos"),
        "affine": keras.Input((8,), name="affine"),
        "color": keras.Input((3, 4), name="color"),
    }
    if config.erase * config.augment > 0:
        inputs["box"] = keras.Input((4,), name="box")
    if config.mixup * config.augment > 0:
        inputs["share"] = keras.Input((), name="share")
    return keras.Model(inputs, network(Augment(name="augment")(inputs)))


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
