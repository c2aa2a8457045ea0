"""The network as it is trained: augmentation in front, an optimizer and a loss behind, compiled once a phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.training.augment.draws import SHAPES, names_of
from featherlite.training.augment.layer import Augment
from featherlite.training.config import FitConfig
from featherlite.training.guide import LOGITS, Guided
from featherlite.training.losses import label_loss, label_metric
from featherlite.training.optimizers import Averaged, RateTable, optimizer_for
from featherlite.training.penalties import penalized
from featherlite.training.resize import AtSize, shrinking

__all__ = ["Averaged", "RateTable", "compile_for", "optimizer_for", "set_precision", "trainee_of"]


def trainee_of(
    network: keras.Model, config: FitConfig, *, guided: Guided | None = None, px: int | None = None
) -> keras.Model:
    """A model that shares the network's weights and takes uint8 photos with the draws of their augmentation.

    It answers logits, or by name what the guide's model answers; `px` is the longer side at which photos are seen.
    """
    inputs = {"photos": keras.Input(network.input_shape[1:], dtype="uint8", name="photos")}
    inputs |= {name: keras.Input(SHAPES[name], name=name) for name in names_of(config)}
    model, seen = network if guided is None else guided.model, dict(inputs)
    shrink = shrinking(network, px)
    if shrink is not None:
        seen["photos"] = shrink(inputs["photos"])
        model = AtSize(model, name="at_size")
    answer = model(Augment(config, name="augment")(seen))
    return keras.Model(inputs, penalized(answer, network, config))


def compile_for(
    model: keras.Model,
    config: FitConfig,
    table: NDArray[np.float32],
    momentum: float | None = None,
    *,
    guided: Guided | None = None,
    weighted: bool = False,
    factors: Mapping[int, float] | None = None,
) -> Averaged:
    """Compiles the model for training on its trainable weights and returns the optimizer, built.

    `table` has one rate a step, `momentum` is that of the averaged weights, `weighted` tells that rows of the targets
    do not all sum to 1, and `factors` multiplies the rate of single weights, by their `id`.
    """
    optimizer = optimizer_for(config, table, momentum, factors)
    loss: Any = label_loss(config, weighted)
    metrics: Any = [label_metric(weighted)]
    shares = None
    if guided is not None:
        others = dict(guided.guide.losses())
        _, share = others.pop(LOGITS, (None, 1.0))
        shares = {LOGITS: share} | {name: weight for name, (_, weight) in others.items()}
        loss = {LOGITS: loss} | {name: one for name, (one, _) in others.items()}
        metrics = {LOGITS: metrics}
    # XLA pays on accelerators; on a CPU it is several times slower for depthwise networks: "auto" knows.
    model.compile(optimizer, loss, loss_weights=shares, metrics=metrics, jit_compile="auto")
    optimizer.build(model.trainable_variables)
    return optimizer


def set_precision(network: keras.Model, policy: str) -> None:
    """Lets the backbone compute under this dtype policy; the head and all weights stay float32."""
    for layer in network.layers:
        if not layer.name.startswith("head_") and not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = policy
