"""Batches of photos or features in a fixed order: batch `i` of an epoch can be drawn again exactly."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.training.augment.blend import kept_share
from featherlite.training.augment.draws import draw
from featherlite.training.config import FitConfig

__all__ = ["Batches", "epoch_order", "steps_per_epoch", "targets"]

ORDER, DRAWS = 1, 2
"""Which stream of random numbers: NumPy pads seeds with zeros, so the last word must never be one."""


def steps_per_epoch(count: int, batch: int) -> int:
    """Steps in which every photo is seen: the last batch is filled up."""
    return -(-count // min(batch, count))


def epoch_order(count: int, batch: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The photos of one epoch, int64 [steps, min(batch, count)]: a permutation, filled up from its own start.

    Filling up keeps every shape static (nothing is traced or compiled twice) and leaves no photo out.
    """
    size = min(batch, count)
    order = np.random.default_rng([seed, epoch, 0, ORDER]).permutation(count)
    return np.resize(order, (steps_per_epoch(count, batch), size))


def targets(labels: NDArray[np.int64], classes: int, smoothing: float) -> NDArray[np.float32]:
    """What the network should answer: float32 [n, classes], rows summing to 1, smoothed towards 1/classes.

    Source: C. Szegedy et al., "Rethinking the Inception Architecture" (arXiv:1512.00567), section 7.
    """
    rows = np.full((len(labels), classes), smoothing / classes, dtype=np.float32)
    rows[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return rows


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """The batches of one epoch, for `Model.fit`: photos with their augmentation, or plain features."""

    def __init__(
        self,
        images: Any,
        labels: NDArray[np.int64],
        classes: int,
        config: FitConfig,
        *,
        seed: int,
        epoch: int,
        augmented: bool,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.images, self.labels, self.classes, self.config = images, labels, classes, config
        self.seed, self.epoch, self.augmented = seed, epoch, augmented
        self.order = epoch_order(len(labels), config.batch, seed, epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Any, NDArray[np.float32]]:
        rows = self.order[index]
        images = np.ascontiguousarray(self.images[rows])
        wanted = targets(self.labels[rows], self.classes, self.config.label_smoothing)
        if not self.augmented:
            return images, wanted
        rng = np.random.default_rng([self.seed, self.epoch, index, DRAWS])
        height, width = images.shape[1], images.shape[2]
        draws = draw(self.config, rng, len(rows), height, width)
        kept = kept_share(draws, height, width)
        if kept is not None:
            share = kept[:, None]
            wanted = share * wanted + (1 - share) * wanted[::-1]
        return {"photos": images, **draws}, wanted
