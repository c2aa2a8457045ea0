"""plain: dropout and one dense layer."""

from __future__ import annotations

from typing import Any

__all__ = ["plain"]


def plain(features: Any, classes: int, *, dropout: float) -> Any:
    """Logits, float32 [n, classes], of pooled features: dropout, one dense layer."""
    from keras import layers

    x = layers.Dropout(dropout, name="head_dropout")(features)
    return layers.Dense(classes, name="head_logits")(x)
