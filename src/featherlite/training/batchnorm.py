"""BatchNorm's moving statistics: estimated anew from photos, where the running average has not caught up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.data.splits import no_training_photos
from featherlite.models.stepwise import stepwise
from featherlite.preprocess import network_input

__all__ = ["Statistics", "norms", "reestimate"]

PHOTOS = 1024
"""Photos that the estimate is made from, at most."""
FEW = 4
"""Batches up to which a graph would take longer to compile than to run."""


def norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BatchNorm layers of a network."""
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


def reestimate(network: keras.Model, images: Any, rows: NDArray[np.int64], batch: int) -> None:
    """As `Statistics.renew`, for once."""
    Statistics(network).renew(images, rows, batch)


class Statistics:
    """What estimates a network's BatchNorm statistics anew; kept by who does so again and again, as after each epoch.

    Source: Y. Wu and J. Johnson, "Rethinking 'Batch' in BatchNorm" (arXiv:2105.07576), section 3, "PreciseBN"; the
    variance here is the mean of the batches' own, without that between their means: what training normalizes with.
    """

    def __init__(self, network: keras.Model, shrink: Any = None) -> None:
        """`shrink` makes of an input what the network is to see, where it is to see it smaller."""
        self._layers = [layer for layer in norms(network) if layer.trainable]
        self._moments = _Moments(network, self._layers, shrink)

    def renew(self, images: Any, rows: NDArray[np.int64], batch: int) -> None:
        """Replaces the moving statistics by the mean over batches of plain, not augmented photos.

        `images` are uint8 photos, or else what the network takes as it is (float32 features, for a head on its own).
        In each batch BatchNorm normalizes by that batch, as in training; dropout and its like are still, as in
        prediction, for which the statistics are.

        Raises:
            DataError: there are no rows.
        """
        if not self._layers:
            return
        if not len(rows):
            raise no_training_photos("to estimate BatchNorm's statistics from")
        size = min(batch, PHOTOS, len(rows))
        used = rows[: min(PHOTOS, len(rows)) // size * size].reshape(-1, size)
        sums = [np.zeros(layer.moving_mean.shape, np.float64) for layer in self._layers for _ in range(2)]
        for chosen in np.sort(used, axis=1):
            shown = np.ascontiguousarray(images[chosen])
            inputs = network_input(shown) if shown.dtype == np.uint8 else shown
            found = self._moments.predict_on_batch(inputs) if len(used) > FEW else self._moments(inputs)
            for total, one in zip(sums, found, strict=True):
                total += np.asarray(one, np.float64)
        for layer, mean, variance in zip(self._layers, sums[::2], sums[1::2], strict=True):
            layer.moving_mean.assign(mean / len(used))
            layer.moving_variance.assign(variance / len(used))


class _Moments(keras.Model):  # type: ignore[misc]
    """Mean and variance, float32 [channels] each, of what every BatchNorm is given where all normalize by the batch."""

    def __init__(self, network: keras.Model, layers: list[keras.layers.BatchNormalization], shrink: Any) -> None:
        super().__init__(name="moments")
        self._network, self._names, self._shrink = network, {layer.name for layer in layers}, shrink
        self.built = True
        self.compile(jit_compile="auto")

    def call(self, inputs: Any) -> list[Any]:
        """The moments, in the order of the network's layers."""
        found: dict[str, tuple[Any, Any]] = {}

        def visit(operation: Any, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
            if operation.name not in self._names:
                return operation(*given, **options)
            axes = tuple(range(len(given[0].shape) - 1))
            found[operation.name] = ops.moments(ops.cast(given[0], "float32"), axes=axes)
            return operation(*given, **{**options, "training": True})

        stepwise(self._network, inputs if self._shrink is None else self._shrink(inputs), visit)
        return [moment for layer in norms(self._network) if layer.name in found for moment in found[layer.name]]
