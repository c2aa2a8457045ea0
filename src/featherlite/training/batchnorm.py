"""BatchNorm's moving statistics: estimated anew from photos, where the running average has not caught up."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.preprocess import network_input

__all__ = ["norms", "reestimate"]

PHOTOS = 1024
"""Photos that the estimate is made from, at most."""


def norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BatchNorm layers of a network."""
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


def reestimate(network: keras.Model, images: Any, rows: NDArray[np.int64], batch: int) -> None:
    """Replaces the moving statistics by the mean over batches of plain, not augmented photos.

    `images` are uint8 photos, or else what the network takes as it is (float32 features, for a head on its own).

    Source: Y. Wu and J. Johnson, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576), section 3, "PreciseBN".
    """
    layers = [layer for layer in norms(network) if layer.trainable]
    momenta = [layer.momentum for layer in layers]
    size = min(batch, PHOTOS, len(rows))
    used = rows[: min(PHOTOS, len(rows)) // size * size].reshape(-1, size)
    try:
        for number, chosen in enumerate(np.sort(used, axis=1)):
            for layer in layers:
                layer.momentum = number / (number + 1)  # a running mean: each batch counts the same
            shown = np.ascontiguousarray(images[chosen])
            network(network_input(shown) if shown.dtype == np.uint8 else shown, training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
