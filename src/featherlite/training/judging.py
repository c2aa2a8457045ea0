"""What a network reached after an epoch, and whether the epoch harmed it: stale statistics, destroyed weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras
import numpy as np

from featherlite.models.logits import network_logits
from featherlite.training.batchnorm import norms
from featherlite.training.checkpoint import Best, FitState, Snapshot
from featherlite.training.config import FitConfig
from featherlite.training.phases import NotFiniteError, PhaseRun
from featherlite.training.predict import score

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet

__all__ = ["MAX_RESCUES", "Judge"]

SAMPLE = 4
"""The stream of random numbers that picks the photos for BatchNorm's statistics."""

MAX_RESCUES = 3
LOST_SKILL = 0.25
"""Weights count as destroyed when less than this share of the best skill above chance is left, in validation and on
the training photos alike."""
STALE_GAP, STALE_GAIN = 0.10, 0.05
"""Statistics are doubted when validation lies this far below training, and found stale when new ones gain this much."""
STALE_EVERY = 3
"""Epochs between two such checks."""


class Judge:
    """Judges the network after each epoch; on the validation photos, where there are any."""

    def __init__(
        self,
        network: keras.Model,
        train: PhotoSet,
        val: PhotoSet | None,
        config: FitConfig,
        seed: int,
        warn: Callable[[str], None],
    ) -> None:
        self.network, self.train, self.val, self.config, self.seed = network, train, val, config, seed
        self.warn, self.weights = warn, Snapshot(network.weights)
        self.chance = 0.0 if val is None else float(np.bincount(val.labels).max() / len(val.labels))

    def at_start(self) -> Best:
        """What the network reaches as it came."""
        if self.val is None:
            return Best(0)
        return Best(0, *score(network_logits(self.network, self.val.images), self.val.labels))

    def judge(self, state: FitState, run: PhaseRun, number: int, train_top1: float) -> Best:
        """What the network reaches after this epoch, with new BatchNorm statistics where the moving ones are stale.

        Raises:
            NotFiniteError: the validation loss, or without validation a weight, is not a finite number.
        """
        # Averaged weights never were in a training step: the moving statistics are those of other weights.
        renewed_anyway = (state.reestimate or self.config.ema != "none") and self._has_norms()
        if renewed_anyway:
            self._reestimate(run)
        if self.val is None:
            if not all(np.isfinite(weight).all() for weight in self.weights.read()):
                raise NotFiniteError(run.batches)  # after the last step no loss would tell
            return Best(number)
        judged = self._score(self.val, run, number)
        assert judged.top1 is not None
        due = number - state.checked_stale >= STALE_EVERY or state.checked_stale == 0
        if renewed_anyway or train_top1 - judged.top1 < STALE_GAP or not due or not self._has_norms():
            return judged
        state.checked_stale = number
        before = self.weights.read()
        self._reestimate(run)
        renewed = self._score(self.val, run, number)
        assert renewed.top1 is not None
        if renewed.top1 - judged.top1 < STALE_GAIN:
            self.weights.assign(before)
            run.load()
            return judged
        state.reestimate = True
        self.warn(
            f"BatchNorm's moving statistics are stale: after epoch {number} validation top-1 is {judged.top1:.3f} with "
            f"them and {renewed.top1:.3f} with statistics estimated anew (training {train_top1:.3f}). They are now "
            "estimated anew after every epoch; a BatchNorm momentum of 0.9 avoids this."
        )
        return renewed

    def destroyed(self, state: FitState, train_top1: float, judged: Best) -> bool:
        """Whether an epoch threw away nearly all that the best one knew, so that a rescue is due."""
        best = state.best.top1
        if best is None or judged.top1 is None or state.rescues >= MAX_RESCUES:
            return False
        floor = self.chance + LOST_SKILL * (best - self.chance)
        return best >= 2 * self.chance and judged.top1 < floor and train_top1 < floor

    def _score(self, val: PhotoSet, run: PhaseRun, number: int) -> Best:
        top1, loss = score(run.logits(), val.labels)
        if not math.isfinite(loss):
            raise NotFiniteError(run.batches)
        return Best(number, top1, loss)

    def _has_norms(self) -> bool:
        return any(layer.trainable for layer in norms(self.network))

    def _reestimate(self, run: PhaseRun) -> None:
        rows = np.random.default_rng([self.seed, 0, 0, SAMPLE]).permutation(len(self.train.labels))
        run.reestimate(rows, max(self.config.batch, 32))
