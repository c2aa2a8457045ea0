"""The two ways to train: the head alone on stored features, or any layers on augmented photos."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.logits import network_logits
from featherlite.training.augment.geometry import on_accelerator
from featherlite.training.batches import Batches, is_weighted, steps_per_epoch
from featherlite.training.batchnorm import Statistics
from featherlite.training.config import FitConfig
from featherlite.training.features import SplitNetwork, split_network
from featherlite.training.guide import LOGITS, Guided
from featherlite.training.penalties import penalized, penalizes
from featherlite.training.plan import HEAD_PHASE, Phase
from featherlite.training.resize import AtSize, shrinking, size_at
from featherlite.training.trainee import Averaged, compile_for, trainee_of
from featherlite.training.unlocking import rate_factors

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet

__all__ = ["FeatureRun", "NotFiniteError", "PhaseRun", "Watch", "reseed", "start_phase"]

SEEDS = 3
FEATURE_BYTES = 2**31
"""Features that would take more memory than this are not stored: the head then sees augmented photos."""


class NotFiniteError(Exception):
    """The loss became infinite or not a number at this batch (counted from 1)."""

    def __init__(self, batch: int) -> None:
        super().__init__(f"batch {batch}")
        self.batch = batch


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Gives dropout and its like the random numbers of this epoch, so that no generator state need be stored."""
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    for number, variable in enumerate(states):
        words = np.random.SeedSequence([seed, epoch, number, SEEDS]).generate_state(2, np.uint32)
        variable.assign(words.astype(variable.dtype))


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells every batch's running loss and top-1, and stops where the loss is no number."""

    def __init__(self, tell: Callable[[float, float], None]) -> None:
        super().__init__()
        self.tell = tell
        # Reading a number waits for the device: seldom on an accelerator, which would stand idle meanwhile.
        self.every = 16 if on_accelerator() else 1
        self.told = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras after each step."""
        if (batch + 1) % self.every == 0:
            self._tell(batch + 1, logs or {})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras after the last step, with the epoch's means."""
        self._tell(self.params["steps"], logs or {})

    def _tell(self, done: int, logs: dict[str, Any]) -> None:
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise NotFiniteError(done)
        for _ in range(done - self.told):
            self.tell(loss, _top1(logs))
        self.told = done


def _top1(logs: dict[str, Any]) -> float:
    """The running top-1; Keras puts the output's name before it where there are several."""
    return float(logs["top1"] if "top1" in logs else logs[f"{LOGITS}_top1"])


class PhaseRun:
    """One phase at work on the network itself, on augmented photos."""

    def __init__(
        self,
        network: keras.Model,
        train: PhotoSet,
        val: PhotoSet | None,
        config: FitConfig,
        seed: int,
        phase: Phase,
        guided: Guided | None = None,
    ) -> None:
        self._begin(network, train, config, seed, phase)
        self.guided = guided
        self.images: Any = train.images
        self.judged: Any = None if val is None else val.images
        self.model = trainee_of(network, self.config, guided=guided, px=phase.px)

    def _begin(self, network: keras.Model, train: PhotoSet, config: FitConfig, seed: int, phase: Phase) -> None:
        self.network, self.seed, self.phase, self.labels = network, seed, phase, train.labels
        self.config = config.model_copy(update={"augment": config.augment * phase.augment})
        self.steps = steps_per_epoch(len(train.labels), config.batch * config.accumulate)
        self.batches = self.steps * config.accumulate
        self._shrink = shrinking(network, phase.px)
        self.augmented, self.guided = True, None
        self.optimizer: Averaged

    @cached_property
    def statistics(self) -> Statistics:
        """What estimates BatchNorm's statistics anew, at the size of the phase."""
        return Statistics(self.network, self._shrink)

    @cached_property
    def asked(self) -> keras.Model:
        """The network as it answers for validation photos: at the size of the phase, for which its statistics are."""
        if self._shrink is None:
            return self.network
        photos = keras.Input(self.network.input_shape[1:])
        return keras.Model(photos, AtSize(self.network, name="at_size")(self._shrink(photos)))

    def compile(self, table: NDArray[np.float32], rate_factor: float) -> None:
        """Begins with a fresh optimizer that follows this table of rates, all multiplied by the factor."""
        self.optimizer = compile_for(
            self.model,
            self.config,
            table,
            self.config.momentum_of_average(self.steps),
            guided=self.guided,
            weighted=is_weighted(self.labels, self.config),
            factors=rate_factors(self.network, self.phase),
        )
        self.optimizer.rate_factor.assign(rate_factor)

    def epoch(self, number: int, tell: Callable[[float, float], None]) -> tuple[float, float]:
        """Trains one epoch; mean loss and top-1 over its batches.

        Raises:
            NotFiniteError: the loss became infinite or not a number.
        """
        reseed(self.model, self.seed, number)
        batches = self.batches_of(number)
        history = self.model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[Watch(tell)]).history
        means = {name: values[0] for name, values in history.items()}
        return float(means["loss"]), _top1(means)

    def batches_of(self, number: int) -> Batches:
        """The batches of one epoch."""
        return Batches(
            self.images,
            self.labels,
            self.network.output_shape[-1],
            self.config,
            seed=self.seed,
            epoch=number,
            augmented=self.augmented,
            guide=None if self.guided is None else self.guided.guide,
            size=size_at(self.network.input_shape[1:3], self.phase.px),
        )

    def logits(self) -> NDArray[np.float32]:
        """Logits for the validation photos, float32 [n, classes]."""
        return network_logits(self.asked, self.judged)

    def reestimate(self, rows: NDArray[np.int64], batch: int) -> None:
        """Estimates BatchNorm's moving statistics anew from these photos of the train set, in this order."""
        self.statistics.renew(self.images, rows, batch)

    def store(self) -> None:
        """Brings the network up to date with what was trained: it is the very same here."""

    def load(self) -> None:
        """Takes over weights that were set on the network: they are the very same here."""


class FeatureRun(PhaseRun):
    """The head phase on stored features: the backbone sees every photo once, however many epochs there are."""

    def __init__(
        self,
        network: keras.Model,
        split: SplitNetwork,
        train: PhotoSet,
        val: PhotoSet | None,
        config: FitConfig,
        seed: int,
        phase: Phase,
    ) -> None:
        self._begin(network, train, config, seed, phase)
        self.split, self.augmented = split, False
        self.images = split.features(train.images)
        self.judged = None if val is None else split.features(val.images)
        self.model = split.head
        if penalizes(config):
            features = keras.Input(split.head.input_shape[1:])
            self.model = keras.Model(features, penalized(split.head(features), split.head, config))

    def logits(self) -> NDArray[np.float32]:
        """Logits for the validation photos, float32 [n, classes], from their features."""
        answers = self.split.head.predict(np.asarray(self.judged), batch_size=256, verbose=0)
        return np.asarray(answers, dtype=np.float32)

    @cached_property
    def statistics(self) -> Statistics:
        """What estimates BatchNorm's statistics anew, in the copy that answers."""
        return Statistics(self.split.head)

    def reestimate(self, rows: NDArray[np.int64], batch: int) -> None:
        """As on photos, from their features; for the copy that answers and for the network."""
        self.statistics.renew(self.images, rows, batch)
        self.store()

    def store(self) -> None:
        """Gives the head's weights to the network."""
        self.split.store()

    def load(self) -> None:
        """Takes the head's weights from the network."""
        self.split.load()


def start_phase(
    phase: Phase,
    network: keras.Model,
    train: PhotoSet,
    val: PhotoSet | None,
    config: FitConfig,
    seed: int,
    guided: Guided | None = None,
) -> PhaseRun:
    """The phase ready to be compiled: on features where nothing before the head changes, else on photos.

    With a guide it is on photos, since that judges more than the head.
    """
    if phase.name == HEAD_PHASE and not config.head_augment and guided is None:
        split = split_network(network)
        count = len(train.labels) + (0 if val is None else len(val.labels))
        if split is not None and split.feature_bytes(count) <= FEATURE_BYTES:
            return FeatureRun(network, split, train, val, config, seed, phase)
    return PhaseRun(network, train, val, config, seed, phase, guided)
