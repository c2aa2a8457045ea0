"""Losses of the labels by name. Targets are rows of weights over the classes: of any sum, and all zero for no label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from featherlite.training.config import FitConfig

__all__ = ["LOSSES", "LabelLoss", "LabelledTop1", "label_loss", "label_metric"]


def crossentropy(targets: Any, logits: Any, config: FitConfig) -> Any:  # noqa: ARG001 - the signature of a loss
    """-sum t log p over the classes, [n]."""
    return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


def focal(targets: Any, logits: Any, config: FitConfig) -> Any:
    """-sum t (1 - p)^gamma log p over the classes, [n]: what is known already counts less.

    Source: T.-Y. Lin et al., "Focal Loss for Dense Object Detection" (arXiv:1708.02002), equation 4, for many classes.
    """
    logs = ops.log_softmax(logits, axis=-1)
    # 1 - p = -expm1(log p); its power has no finite slope at 0 for a gamma below 1.
    missed = ops.maximum(-ops.expm1(logs), keras.config.epsilon())
    return -ops.sum(targets * ops.power(missed, config.focal_gamma) * logs, axis=-1)


LOSSES: Mapping[str, Callable[[Any, Any, FitConfig], Any]] = MappingProxyType(
    {"crossentropy": crossentropy, "focal": focal}
)


class LabelLoss(keras.losses.Loss):  # type: ignore[misc]
    """The config's loss of targets and logits, both float32 [n, classes]."""

    def __init__(self, config: FitConfig) -> None:
        super().__init__(name=config.loss)
        self.config = config

    def call(self, targets: Any, logits: Any) -> Any:
        """One number a photo."""
        return LOSSES[self.config.loss](targets, logits, self.config)


class LabelledTop1(keras.metrics.Mean):  # type: ignore[misc]
    """Top-1 over the photos that have a label."""

    def update_state(self, targets: Any, logits: Any, sample_weight: Any = None) -> None:  # noqa: ARG002
        """Counts a batch."""
        hits = ops.equal(ops.argmax(targets, axis=-1), ops.argmax(logits, axis=-1))
        labelled = ops.any(ops.not_equal(targets, 0.0), axis=-1)
        super().update_state(ops.cast(hits, "float32"), sample_weight=ops.cast(labelled, "float32"))


def label_loss(config: FitConfig, weighted: bool) -> keras.losses.Loss:
    """The loss of the labels; `weighted` where rows of the targets do not all sum to 1."""
    if config.loss == "crossentropy" and not weighted:
        return keras.losses.CategoricalCrossentropy(from_logits=True)  # one fused kernel, for rows that sum to 1 alone
    return LabelLoss(config)


def label_metric(weighted: bool) -> keras.metrics.Metric:
    """Top-1 of the labels, under the name top1."""
    return LabelledTop1(name="top1") if weighted else keras.metrics.CategoricalAccuracy(name="top1")
