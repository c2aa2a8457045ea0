"""The two ways to train: the head alone (on stored features where it can), and all layers together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.logits import network_logits
from featherlite.training.batches import Batches, steps_per_epoch
from featherlite.training.config import FitConfig
from featherlite.training.features import HEAD, SplitNetwork, split_network
from featherlite.training.trainee import AveragedAdamW, compile_for, on_accelerator, trainee_of

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet

__all__ = ["FeatureRun", "NotFiniteError", "Phase", "PhaseRun", "choose_layers", "phases_of", "reseed"]

SEEDS = 3
FEW_PHOTOS = 8
"""Below this many photos a step, batch statistics are too noisy for BatchNorm to learn from."""
FEATURE_BYTES = 2**31
"""Features that would take more memory than this are not stored: the head then sees augmented photos."""


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs under one peak rate: those after `first` up to and including `last`."""

    name: Literal["head", "all"]
    first: int
    last: int
    rate: float


class NotFiniteError(Exception):
    """The loss became infinite or not a number at this batch (counted from 1)."""

    def __init__(self, batch: int) -> None:
        super().__init__(f"batch {batch}")
        self.batch = batch


def phases_of(network: keras.Model, config: FitConfig) -> list[Phase]:
    """The phases that this config asks of this network; a network without head layers has no head phase."""
    has_head = any(layer.name.startswith(HEAD) and layer.weights for layer in network.layers)
    head = config.head_epochs if has_head else 0
    phases = [Phase("head", 0, head, config.head_rate), Phase("all", head, head + config.epochs, config.rate)]
    return [phase for phase in phases if phase.last > phase.first]


def choose_layers(network: keras.Model, phase: Phase, config: FitConfig, photos: int, flags: Sequence[bool]) -> None:
    """Sets which layers train in this phase; `flags` are those the network came with, which are never widened."""
    backbone = [layer for layer in network.layers if not layer.name.startswith(HEAD)]
    with_weights = [layer for layer in backbone if layer.weights]
    locked = set(map(id, with_weights[: -config.unlock] if config.unlock else ()))
    frozen_norms = config.freeze_batchnorm is True or (
        config.freeze_batchnorm == "auto" and min(config.batch, photos) < FEW_PHOTOS
    )
    for layer, flag in zip(network.layers, flags, strict=True):
        frozen = not layer.name.startswith(HEAD) and (
            phase.name == "head"
            or id(layer) in locked
            or (frozen_norms and isinstance(layer, keras.layers.BatchNormalization))
        )
        layer.trainable = flag and not frozen


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
            self.tell(loss, float(logs["top1"]))
        self.told = done


class PhaseRun:
    """One phase at work on the network itself, on augmented photos."""

    def __init__(
        self, network: keras.Model, train: PhotoSet, val: PhotoSet | None, config: FitConfig, seed: int
    ) -> None:
        self.network, self.config, self.seed = network, config, seed
        self.images: Any = train.images
        self.labels, self.augmented = train.labels, True
        self.judged: Any = None if val is None else val.images
        self.model = trainee_of(network, config)
        self.steps = steps_per_epoch(len(train.labels), config.batch)
        self.optimizer: AveragedAdamW

    def compile(self, table: NDArray[np.float32]) -> None:
        """Begins with a fresh optimizer that follows this table of rates."""
        # A running average with momentum 1 - 1/n spans about the last n steps.
        ema = 1 - 1 / max(2, self.steps) if self.config.ema == "auto" else self.config.ema
        self.optimizer = compile_for(self.model, self.config, table, ema)

    def epoch(self, number: int, tell: Callable[[float, float], None]) -> tuple[float, float]:
        """Trains one epoch; mean loss and top-1 over its batches.

        Raises:
            NotFiniteError: the loss became infinite or not a number.
        """
        reseed(self.model, self.seed, number)
        classes = self.network.output_shape[-1]
        batches = Batches(
            self.images, self.labels, classes, self.config, seed=self.seed, epoch=number, augmented=self.augmented
        )
        history = self.model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[Watch(tell)]).history
        return float(history["loss"][0]), float(history["top1"][0])

    def logits(self) -> NDArray[np.float32]:
        """Logits for the validation photos, float32 [n, classes]."""
        return network_logits(self.network, self.judged)

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
    ) -> None:
        self.network, self.config, self.seed, self.split = network, config, seed, split
        self.images = split.features(train.images)
        self.labels, self.augmented = train.labels, False
        self.judged = None if val is None else split.features(val.images)
        self.model = split.head
        self.steps = steps_per_epoch(len(train.labels), config.batch)

    def logits(self) -> NDArray[np.float32]:
        """Logits for the validation photos, float32 [n, classes], from their features."""
        return np.asarray(self.model.predict(np.asarray(self.judged), batch_size=256, verbose=0), dtype=np.float32)

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
) -> PhaseRun:
    """The phase ready to be compiled: on features where nothing before the head changes, else on photos."""
    if phase.name == "head" and not config.head_augment:
        split = split_network(network)
        count = len(train.labels) + (0 if val is None else len(val.labels))
        if split is not None and split.feature_bytes(count) <= FEATURE_BYTES:
            return FeatureRun(network, split, train, val, config, seed)
    return PhaseRun(network, train, val, config, seed)
