"""dense: a stack of dense layers, each with batch normalization, ReLU and dropout, before the logits."""

from __future__ import annotations

from typing import Any

from featherlite.models.backbones.card import MOMENTUM

__all__ = ["dense"]


def dense(features: Any, classes: int, *, dropout: float, head_units: tuple[int, ...], head_dropout: float) -> Any:
    """Logits, float32 [n, classes], of pooled features: dropout, a dense layer of each width, the logits.

    The dense layers have no bias, since BatchNorm takes the mean away and adds one of its own; on a device both fold
    into one FULLY_CONNECTED.
    """
    from keras import layers

    x = layers.Dropout(dropout, name="head_dropout")(features)
    for number, units in enumerate(head_units, start=1):
        name = f"head_dense{number}"
        x = layers.Dense(units, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.Dropout(head_dropout, name=f"{name}_dropout")(x)
    return layers.Dense(classes, name="head_logits")(x)
