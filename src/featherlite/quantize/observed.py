"""What the layers of a network put out over a set of photos: extremes, and histograms where a method asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import BundleError
from featherlite.preprocess import network_input
from featherlite.quantize.scheme import SMALLEST
from featherlite.step import Progress, Silent

__all__ = ["BINS", "Histogram", "Observed", "Seen"]

BINS: Final = 2048
"""Bins on either side of zero."""
BATCH: Final = 8
"""Photos at once: the outputs of all layers for them are in memory together."""


@dataclass(frozen=True)
class Histogram:
    """How often values occurred. `counts` is int64 [2 BINS]: bins of equal width from -limit to limit.

    Exact zeros, of which a ReLU makes many, are in `zeros` alone: they cost nothing in any range.
    """

    counts: NDArray[np.int64]
    zeros: int
    limit: float

    @property
    def width(self) -> float:
        """The width of a bin."""
        return self.limit / BINS

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin, float64 [2 BINS]."""
        return np.asarray((np.arange(2 * BINS) + 0.5 - BINS) * self.width, dtype=np.float64)


class Seen:
    """What one layer put out: `low` and `high` are the true extremes, zero included."""

    def __init__(self, name: str, low: float, high: float, source: Observed | None = None) -> None:
        self.name, self.low, self.high = name, low, high
        self._source = source

    @property
    def histogram(self) -> Histogram:
        """How often values occurred; the first one asked for makes those of all layers, in one pass over the photos."""
        if self._source is None:
            raise LookupError(f"the layer '{self.name}' was seen by its extremes alone")
        return self._source.histograms[self.name]


class Observed:
    """The outputs of the named layers of a network over photos, uint8 [n, height, width, 3]."""

    def __init__(
        self, network: keras.Model, names: Sequence[str], photos: NDArray[np.uint8], progress: Progress | None = None
    ) -> None:
        operations = {operation.name: operation for operation in network.operations}
        self._network, self._photos, self.names = network, photos, tuple(names)
        self._outputs = [operations[name].output for name in names]
        self._progress = progress or Silent()

    @cached_property
    def seen(self) -> Mapping[str, Seen]:
        """Every layer's extremes, by name.

        Raises:
            BundleError: a layer puts out what is no finite number.
        """
        axes = [tuple(range(1, len(output.shape))) for output in self._outputs]
        lows = [keras.ops.min(output, axis=axis) for output, axis in zip(self._outputs, axes, strict=True)]
        highs = [keras.ops.max(output, axis=axis) for output, axis in zip(self._outputs, axes, strict=True)]
        limits = np.zeros((2, len(self.names)), dtype=np.float64)
        for found in self._passed([*lows, *highs], "measuring ranges"):
            batch = np.stack([np.asarray(one, dtype=np.float64) for one in found]).reshape(2, len(self.names), -1)
            limits[0] = np.minimum(limits[0], batch[0].min(axis=1))
            limits[1] = np.maximum(limits[1], batch[1].max(axis=1))
        broken = ~np.isfinite(limits).all(axis=0)
        if broken.any():
            raise BundleError(
                f"The layer '{self.names[int(broken.argmax())]}' puts out values that are not finite.",
                "Train the network again; a lower rate or clip_norm keeps weights from growing without end.",
            )
        return {
            name: Seen(name, float(low), float(high), self) for name, low, high in zip(self.names, *limits, strict=True)
        }

    @cached_property
    def histograms(self) -> Mapping[str, Histogram]:
        """Every layer's histogram, by name."""
        limits = [max(-self.seen[name].low, self.seen[name].high, SMALLEST) for name in self.names]
        counts = np.zeros((len(self.names), 2 * BINS), dtype=np.int64)
        zeros = np.zeros(len(self.names), dtype=np.int64)
        for found in self._passed(self._outputs, "counting values"):
            for place, (values, limit) in enumerate(zip(found, limits, strict=True)):
                none = values.size - int(np.count_nonzero(values))
                bins = (values.ravel() * np.float32(BINS / limit) + np.float32(BINS)).astype(np.int32)
                counts[place] += np.bincount(np.clip(bins, 0, 2 * BINS - 1), minlength=2 * BINS)
                counts[place, BINS] -= none  # zeros fall into the bin that begins with them
                zeros[place] += none
        rows = zip(self.names, counts, zeros, limits, strict=True)
        return {name: Histogram(row, int(none), limit) for name, row, none, limit in rows}

    def _passed(self, outputs: Sequence[Any], what: str) -> Iterator[list[NDArray[np.float32]]]:
        """The outputs for each batch of photos."""
        taps = keras.Model(self._network.inputs[0], list(outputs))
        self._progress.start(what, len(self._photos))
        for start in range(0, len(self._photos), BATCH):
            batch = np.asarray(self._photos[start : start + BATCH])
            count = len(batch)
            if start and count < BATCH:
                # A last batch of the others' shape: another one would be compiled anew.
                batch = np.concatenate([batch, np.repeat(batch[-1:], BATCH - count, axis=0)])
            found = taps.predict_on_batch(network_input(batch))
            yield [np.asarray(one)[:count] for one in (found if isinstance(found, list) else [found])]
            self._progress.advance(count)
        self._progress.finish()
