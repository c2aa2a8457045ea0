"""The only training loop: every step that trains or retrains calls `fit`."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import TrainingError
from featherlite.step import Context
from featherlite.training.checkpoint import Arrays, Best, FitState, read_state, write_state
from featherlite.training.config import FitConfig
from featherlite.training.inputs import check_photos, fingerprint
from featherlite.training.schedule import rates

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.training.phases import Phase, PhaseRun

__all__ = ["FitConfig", "FitResult", "fit"]

CHECKPOINT = "fit.npz"
SAMPLE = 4
"""The stream of random numbers that picks the photos for BatchNorm's statistics."""

RESCUE_FACTOR = 0.2
MAX_RESCUES = 3
LOST_SKILL = 0.25
"""Weights count as destroyed when less than this share of the best skill above chance is left, in validation and on
the training photos alike."""
STALE_GAP, STALE_GAIN = 0.10, 0.05
"""Statistics are doubted when validation lies this far below training, and found stale when new ones gain this much."""
STALE_EVERY = 3
"""Epochs between two such checks."""


@dataclass(frozen=True)
class FitResult:
    """What a fit came to; the network itself holds the kept weights."""

    best_epoch: int
    val_top1: float | None
    val_loss: float | None
    epochs: int
    stopped_early: bool
    curve: list[dict[str, Any]] = field(default_factory=list)


def fit(network: keras.Model, train: PhotoSet, val: PhotoSet | None, config: FitConfig, ctx: Context) -> FitResult:
    """Trains the network in place and leaves the best epoch's weights in it (without validation photos the last's).

    Same seed, photos, config and machine: the same weights, bit for bit, also where the process was killed between
    (it goes on from the last finished epoch, kept under `ctx.resume`). Records `curve` and `fit` in the report.

    Raises:
        DataError: no training photo, or photos that do not match the network's input or classes.
        TrainingError: the loss is not a number; the network and `ctx.resume` hold the last good weights.
        StorageError: the state after an epoch cannot be stored; the one before is intact.
    """
    judged = val if val is not None and len(val.labels) > 0 else None
    check_photos(network, train, judged)
    return _Fitting(network, train, judged, config, ctx).run()


class _Fitting:
    """A fit under way."""

    def __init__(self, network: keras.Model, train: PhotoSet, val: PhotoSet | None, config: FitConfig, ctx: Context):
        self.network, self.train, self.val, self.config, self.ctx = network, train, val, config, ctx
        self.path = ctx.resume / CHECKPOINT
        self.fingerprint = fingerprint(network, train, val, config, ctx.seed)
        self.chance = 0.0 if val is None else float(np.bincount(val.labels).max() / len(val.labels))
        self.state = FitState()

    def run(self) -> FitResult:
        from featherlite.training.phases import choose_layers, phases_of, reseed, start_phase
        from featherlite.training.trainee import on_accelerator, set_precision

        network, config, ctx = self.network, self.config, self.ctx
        flags = [layer.trainable for layer in network.layers]
        policies = [layer.dtype_policy for layer in network.layers]
        mixed = config.mixed_precision is True or (config.mixed_precision == "auto" and on_accelerator())
        if mixed:
            set_precision(network, "mixed_bfloat16")
            network.make_predict_function(force=True)
        try:
            self._begin()
            for phase in phases_of(network, config):
                if self.state.epoch >= phase.last or self.state.stopped_early:
                    continue
                choose_layers(network, phase, config, len(self.train.labels), flags)
                run = start_phase(phase, network, self.train, self.val, config, ctx.seed)
                self._run_phase(phase, run)
            self._assign(self.state.kept)
        finally:
            for layer, flag, policy in zip(network.layers, flags, policies, strict=True):
                layer.trainable = flag
                if mixed:
                    layer.dtype_policy = policy
            if mixed:
                network.make_predict_function(force=True)
            reseed(network, ctx.seed, 0)  # a dropout's state is stored with the network: it must not tell of a kill
        return self._result()

    def _begin(self) -> None:
        """The stored state, or a new one whose best is the network as it came."""
        stored = read_state(self.path, self.fingerprint)
        if stored is not None:
            self.state = stored
            for message in stored.warnings:
                self.ctx.warn(message)
            self._assign(stored.weights)
            return
        self.state.kept = self.state.weights = self._weights()
        if self.val is not None:
            from featherlite.models.logits import network_logits
            from featherlite.training.predict import score

            self.state.best = Best(0, *score(network_logits(self.network, self.val.images), self.val.labels))

    # ---- one phase -----------------------------------------------------------------------------------------------

    def _run_phase(self, phase: Phase, run: PhaseRun) -> None:
        state = self.state
        if state.epoch == phase.first:
            state.optimizer_since, state.optimizer, state.rate_factor = phase.first, [], 1.0
        self._compile(phase, run)
        if state.optimizer:
            for variable, value in zip(run.optimizer.variables, state.optimizer, strict=True):
                variable.assign(value)
        what = "head" if phase.name == "head" else "all layers"
        self.ctx.progress.start(f"train {what}", (phase.last - state.epoch) * run.steps)
        while state.epoch < phase.last and not state.stopped_early:
            self._epoch(phase, run)
        state.optimizer = []
        self.ctx.progress.finish()

    def _compile(self, phase: Phase, run: PhaseRun) -> None:
        table = self._table(phase, run.steps)
        run.compile(table[(self.state.optimizer_since - phase.first) * run.steps :])

    def _table(self, phase: Phase, steps: int) -> NDArray[np.float32]:
        config = self.config
        course = rates(config.schedule, (phase.last - phase.first) * steps, phase.rate, config.warmup)
        return course * np.float32(self.state.rate_factor)

    def _epoch(self, phase: Phase, run: PhaseRun) -> None:
        state, started = self.state, time.perf_counter()
        number = state.epoch + 1
        reached = "" if state.best.top1 is None else f", validation {state.best.top1:.1%}"

        def tell(loss: float, top1: float) -> None:
            note = f"epoch {number}/{phase.last}  loss {loss:.3f}, top-1 {top1:.1%}{reached}"
            self.ctx.progress.advance(1, note)

        from featherlite.training.phases import NotFiniteError

        try:
            loss, top1 = run.epoch(number, tell)
            run.optimizer.swap_averages()
            run.store()
            judged = self._judge(run, number, top1)
        except NotFiniteError as error:
            raise self._not_finite(phase, number, error.batch) from None
        better = state.best.worse_than(judged)
        if better:
            state.best, state.kept = judged, self._weights()
        run.optimizer.swap_averages()
        run.store()
        rate = float(self._table(phase, run.steps)[(number - phase.first) * run.steps - 1])
        state.curve.append(
            {
                "epoch": number,
                "phase": phase.name,
                "loss": loss,
                "train_top1": top1,
                "val_loss": judged.loss,
                "val_top1": judged.top1,
                "rate": rate,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        state.epoch = number
        if not better and self._destroyed(top1, judged):
            self._rescue(phase, run)
        waited = number - max(state.best.epoch, phase.first)
        state.stopped_early = phase.name == "all" and 0 < self.config.patience <= waited
        state.weights, state.optimizer = self._weights(), [v.numpy() for v in run.optimizer.variables]
        write_state(self.path, state, self.fingerprint)

    # ---- judging -------------------------------------------------------------------------------------------------

    def _judge(self, run: PhaseRun, number: int, train_top1: float) -> Best:
        """What the network reaches after this epoch, with new BatchNorm statistics where the moving ones are stale."""
        # Averaged weights never were in a training step: the moving statistics are those of other weights.
        renewed_anyway = (self.state.reestimate or self.config.ema is not None) and self._has_norms()
        if renewed_anyway:
            self._reestimate()
        if self.val is None:
            return Best(number)
        judged = self._score(run, number)
        assert judged.top1 is not None
        due = number - self.state.checked_stale >= STALE_EVERY or self.state.checked_stale == 0
        if renewed_anyway or train_top1 - judged.top1 < STALE_GAP or not due or not self._has_norms():
            return judged
        self.state.checked_stale = number
        before = self._weights()
        self._reestimate()
        renewed = self._score(run, number)
        assert renewed.top1 is not None
        if renewed.top1 - judged.top1 < STALE_GAIN:
            self._assign(before)
            return judged
        self.state.reestimate = True
        self._warn(
            f"BatchNorm's moving statistics are stale: after epoch {number} validation top-1 is {judged.top1:.3f} with "
            f"them and {renewed.top1:.3f} with statistics estimated anew (training {train_top1:.3f}). They are now "
            "estimated anew after every epoch; a BatchNorm momentum of 0.9 avoids this."
        )
        return renewed

    def _score(self, run: PhaseRun, number: int) -> Best:
        from featherlite.training.phases import NotFiniteError
        from featherlite.training.predict import score

        assert self.val is not None
        top1, loss = score(run.logits(), self.val.labels)
        if not math.isfinite(loss):
            raise NotFiniteError(run.steps)
        return Best(number, top1, loss)

    def _has_norms(self) -> bool:
        from featherlite.training.batchnorm import norms

        return any(layer.trainable for layer in norms(self.network))

    def _reestimate(self) -> None:
        from featherlite.training.batchnorm import reestimate

        rows = np.random.default_rng([self.ctx.seed, 0, 0, SAMPLE]).permutation(len(self.train.labels))
        reestimate(self.network, self.train.images, rows, max(self.config.batch, 32))

    def _destroyed(self, train_top1: float, judged: Best) -> bool:
        best = self.state.best.top1
        if best is None or judged.top1 is None or self.state.rescues >= MAX_RESCUES:
            return False
        floor = self.chance + LOST_SKILL * (best - self.chance)
        return best >= 2 * self.chance and judged.top1 < floor and train_top1 < floor

    def _rescue(self, phase: Phase, run: PhaseRun) -> None:
        state, judged = self.state, self.state.curve[-1]
        state.rescues += 1
        state.rate_factor *= RESCUE_FACTOR
        self._assign(state.kept)
        run.load()
        state.optimizer_since = state.epoch
        if state.epoch < phase.last:
            self._compile(phase, run)
        self._warn(
            f"Epoch {state.epoch} destroyed the weights: validation top-1 fell from {state.best.top1:.3f} to "
            f"{judged['val_top1']:.3f}. Training goes on from epoch {state.best.epoch} with the rate times "
            f"{state.rate_factor:.3g}; a lower rate than {phase.rate:g} avoids this."
        )

    def _not_finite(self, phase: Phase, number: int, batch: int) -> TrainingError:
        self._assign(self.state.kept)
        return TrainingError(
            f"The loss is not a finite number at epoch {number}, batch {batch} (phase '{phase.name}', peak rate "
            f"{phase.rate * self.state.rate_factor:g}). The weights of epoch {self.state.best.epoch} are kept.",
            f"Lower {'head_rate' if phase.name == 'head' else 'rate'}, or set clip_norm.",
        )

    # ---- state ---------------------------------------------------------------------------------------------------

    def _warn(self, message: str) -> None:
        self.state.warnings.append(message)
        self.ctx.warn(message)

    def _weights(self) -> Arrays:
        return [weight.numpy() for weight in self.network.weights]

    def _assign(self, weights: Arrays) -> None:
        for variable, value in zip(self.network.weights, weights, strict=True):
            variable.assign(value)

    def _result(self) -> FitResult:
        state, best = self.state, self.state.best
        if best.epoch == 0 and state.epoch > 0:
            self.ctx.warn("No epoch was better than the network it started from, which is kept as it came.")
        self.ctx.record("curve", state.curve)
        facts = {"best_epoch": best.epoch, "val_top1": best.top1, "val_loss": best.loss, "epochs": state.epoch}
        self.ctx.record("fit", facts | {"stopped_early": state.stopped_early, "rescues": state.rescues})
        return FitResult(best.epoch, best.top1, best.loss, state.epoch, state.stopped_early, state.curve)
