"""Batches of photos or features in a fixed order: batch `i` of an epoch can be drawn again exactly."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.training.augment.blend import kept_share
from featherlite.training.augment.draws import draw
from featherlite.training.config import FitConfig
from featherlite.training.guide import LOGITS, Guide, view_draws, view_of
from featherlite.training.sampling import POWERS, class_weights, epoch_order, micro_columns, steps_per_epoch

__all__ = ["Batches", "epoch_order", "is_weighted", "steps_per_epoch", "targets"]

DRAWS = 2
"""The stream of random numbers that photos are changed by."""


def targets(labels: NDArray[np.int64], classes: int, smoothing: float) -> NDArray[np.float32]:
    """What the network should answer: float32 [n, classes], rows summing to 1, smoothed towards 1/classes.

    Rows without a label (-1) are all zero.
    Source: C. Szegedy et al., "Rethinking the Inception Architecture" (arXiv:1512.00567), section 7.
    """
    rows = np.full((len(labels), classes), smoothing / classes, dtype=np.float32)
    rows[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    rows[labels < 0] = 0.0
    return rows


def is_weighted(labels: NDArray[np.int64], config: FitConfig) -> bool:
    """Whether rows of the targets do not all sum to 1."""
    return config.class_weights != "none" or bool((labels < 0).any())


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """The batches of one epoch, for `Model.fit`: photos with their augmentation, or plain features.

    With `accumulate` these are the micro-batches, one step's after the other. `size` is the height and width at which
    photos are augmented, where that is not their own.
    """

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
        guide: Guide | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.images, self.labels, self.classes, self.config = images, labels, classes, config
        self.seed, self.epoch, self.augmented, self.guide = seed, epoch, augmented, guide
        self.size: tuple[int, int] = size or tuple(images.shape[1:3])
        parts = config.accumulate
        step = min(config.batch * parts, -(-len(labels) // parts) * parts)
        power = POWERS[config.sampling]
        order = epoch_order(len(labels), step, seed, epoch, labels=labels, power=power)
        self.order = np.resize(order, (len(order), step)) if order.shape[1] != step else order
        self.columns = micro_columns(step, parts)
        self.weights = class_weights(labels, classes, config)
        self.fixed: dict[str, NDArray[np.float32]] = {}
        if guide is not None and guide.views and augmented:
            self.fixed = view_draws(config, seed, view_of(guide, epoch), len(labels), *self.size)

    def __len__(self) -> int:
        return len(self.order) * len(self.columns)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        step, part = divmod(index, len(self.columns))
        columns = self.columns[part]
        rows = self.order[step][columns]
        images = np.ascontiguousarray(self.images[rows])
        wanted: Any = targets(self.labels[rows], self.classes, self.config.label_smoothing)
        if self.config.class_weights != "none":
            wanted *= self.weights[self.labels[rows]][:, None]
        inputs: Any = images
        if self.augmented:
            draws = self._draws(step, columns, rows)
            kept = kept_share(draws, *self.size)
            if kept is not None:
                share = kept[:, None]
                wanted = share * wanted + (1 - share) * wanted[::-1]
            inputs = {"photos": images, **draws}
        if self.guide is not None:
            wanted = {LOGITS: wanted, **self.guide.targets(rows, view_of(self.guide, self.epoch))}
        return inputs, wanted

    def _draws(self, step: int, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """The micro-batch's part of what is drawn for the whole step, or of its photos' fixed view."""
        if self.fixed:
            return {name: values[rows] for name, values in self.fixed.items()}
        rng = np.random.default_rng([self.seed, self.epoch, step, DRAWS])
        drawn = draw(self.config, rng, self.order.shape[1], *self.size)
        return drawn if len(self.columns) == 1 else {name: values[columns] for name, values in drawn.items()}
