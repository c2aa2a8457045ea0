"""The only training loop: every step that trains or retrains calls `fit`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import TrainingError
from featherlite.step import Context
from featherlite.training.checkpoint import Best, FitState, Snapshot, read_state, write_state
from featherlite.training.config import FitConfig
from featherlite.training.epochs import epochs_folder, keep_epoch
from featherlite.training.guide import Guide, Guided, guided_by
from featherlite.training.inputs import check_config, check_photos, fingerprint
from featherlite.training.plan import HEAD_PHASE, Phase
from featherlite.training.schedule import Plateau, rates

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.training.judging import Judge
    from featherlite.training.phases import PhaseRun

__all__ = ["NONE_BETTER", "FitConfig", "FitResult", "fit"]

NONE_BETTER = "No epoch was better than the network it started from, which is kept as it came."

CHECKPOINT = "fit.npz"
RESCUE_FACTOR = 0.2


@dataclass(frozen=True)
class FitResult:
    """What a fit came to; the network itself holds the kept weights."""

    best_epoch: int
    val_top1: float | None
    val_loss: float | None
    epochs: int
    stopped_early: bool
    curve: list[dict[str, Any]] = field(default_factory=list)

    def warn(self, ctx: Context) -> None:
        """Warns where the network was kept as it came: for steps that are nothing but a training.

        After surgery that is no fault: often nothing had to heal.
        """
        if self.best_epoch == 0 and self.epochs:
            ctx.warn(NONE_BETTER)


def fit(
    network: keras.Model,
    train: PhotoSet,
    val: PhotoSet | None,
    config: FitConfig,
    ctx: Context,
    guide: Guide | None = None,
) -> FitResult:
    """Trains the network in place and leaves the best epoch's weights in it (without validation photos the last's).

    Same seed, photos, config and machine: the same weights, bit for bit on a CPU, also where the process was killed
    between (it goes on from the last finished epoch, kept under `ctx.resume`). Records `curve` and `fit` in the report.
    With a `guide` the network is taught by it beside the labels, and photos of the train set may have the label -1.

    Raises:
        DataError: no training photo, or photos that do not match the network's input or classes.
        RequestError: the config asks for what this network, these photos or the guide cannot do.
        TrainingError: the loss is not a number; the network and `ctx.resume` hold the last good weights.
        StorageError: the state after an epoch cannot be stored; the one before is intact.
    """
    judged = val if val is not None and len(val.labels) > 0 else None
    check_photos(network, train, judged, unlabelled=guide is not None)
    check_config(network, judged, config, guide)
    if judged is None and config.patience:
        ctx.warn("patience does nothing without validation photos: no epoch can be told to be no better than another.")
    return _Fitting(network, train, judged, config, ctx, guide).run()


class _Fitting:
    """A fit under way."""

    def __init__(
        self,
        network: keras.Model,
        train: PhotoSet,
        val: PhotoSet | None,
        config: FitConfig,
        ctx: Context,
        guide: Guide | None,
    ) -> None:
        self.network, self.train, self.val, self.config, self.ctx, self.guide = network, train, val, config, ctx, guide
        self.path = ctx.resume / CHECKPOINT
        identity = "" if guide is None else guide.identity
        self.fingerprint = fingerprint(network, train, val, config, ctx, identity)
        self.state = FitState()
        self.guided: Guided | None = None
        self.judge: Judge
        self.weights: Snapshot

    def run(self) -> FitResult:
        from featherlite.training.augment.geometry import on_accelerator
        from featherlite.training.judging import Judge
        from featherlite.training.phases import reseed, start_phase
        from featherlite.training.trainee import set_precision
        from featherlite.training.unlocking import choose_layers, phases_of

        network, config, ctx = self.network, self.config, self.ctx
        flags = [layer.trainable for layer in network.layers]
        policies = [layer.dtype_policy for layer in network.layers]
        mixed = config.mixed_precision is True or (config.mixed_precision == "auto" and on_accelerator())
        if mixed:
            set_precision(network, "mixed_bfloat16")
            network.make_predict_function(force=True)
        try:
            guided = self.guided = None if self.guide is None else guided_by(self.guide, network)
            self.weights = Snapshot([*network.weights, *(guided.extras if guided else ())])
            self.judge = Judge(network, self.train, self.val, config, ctx.seed, self._warn)
            phases = phases_of(network, config)
            self._begin(on_accelerator())
            own = max(network.input_shape[1:3])
            sizes = [own, *(phase.px or own for phase in phases)]
            for phase, (before, px) in zip(phases, pairwise(sizes), strict=True):
                if self.state.epoch >= phase.last or self.state.stopped_early:
                    continue
                if self.state.epoch == phase.first and before != px:
                    self.state.change_size(self.weights.read(), leaves_own=before == own)
                choose_layers(network, phase, config, len(self.train.labels), flags)
                run = start_phase(phase, network, self.train, self.val, config, ctx.seed, guided)
                self._run_phase(phase, run, is_last=phase.course == phases[-1].course)
            self.state.settle()
            self.weights.assign(self.state.kept)
        finally:
            for layer, flag, policy in zip(network.layers, flags, policies, strict=True):
                layer.trainable = flag
                if mixed:
                    layer.dtype_policy = policy
            if mixed:
                network.make_predict_function(force=True)
            reseed(network, ctx.seed, 0)  # a dropout's state is stored with the network: it must not tell of a kill
        return self._result()

    def _begin(self, on_accelerator: bool) -> None:
        """The stored state, or a new one whose best is the network as it came."""
        stored = read_state(self.path, self.fingerprint)
        if stored is not None:
            self.state = stored
            for message in stored.warnings:
                self.ctx.warn(message)
            self.weights.assign(stored.weights)
            return
        if on_accelerator:
            self._warn(
                "This accelerator adds numbers in no fixed order: the same training gives slightly other weights each "
                "time. On a CPU it repeats bit for bit."
            )
        self.state.kept = self.state.weights = self.weights.read()
        self.state.best = self.judge.at_start()

    # ---- one phase -----------------------------------------------------------------------------------------------

    def _run_phase(self, phase: Phase, run: PhaseRun, *, is_last: bool) -> None:
        state = self.state
        if state.epoch == phase.course[0]:
            state.optimizer_since, state.optimizer, state.rate_factor = state.epoch, [], 1.0
            state.plateau = Plateau()
        self._compile(phase, run)
        if state.optimizer:
            Snapshot(run.optimizer.variables).assign(state.optimizer)
        what = "all layers" if phase.name == "all" else phase.name
        self.ctx.progress.start(f"train {what}", (phase.last - state.epoch) * run.batches)
        while state.epoch < phase.last and not state.stopped_early:
            self._epoch(phase, run, is_last=is_last)
        self.ctx.progress.finish()

    def _compile(self, phase: Phase, run: PhaseRun) -> None:
        table = self._table(phase, run.steps)
        run.compile(table[(self.state.optimizer_since - phase.course[0]) * run.steps :], self.state.rate_factor)

    def _table(self, phase: Phase, steps: int) -> NDArray[np.float32]:
        """The rate of every step in the phase's course."""
        epochs = phase.course[1] - phase.course[0]
        return rates(self.config.schedule, epochs * steps, self._rate(phase), self.config.warmup)

    def _rate(self, phase: Phase) -> float:
        """The phase's peak rate; where the config leaves it open, it is searched for once and then kept."""
        if phase.rate is not None:
            return phase.rate
        if self.state.found_rate is None:
            from featherlite.training.find_rate import find_rate

            found = find_rate(self.network, self.train, self.config, self.ctx, phase=phase, guided=self.guided)
            self.state.found_rate = found.suggested
            if found.doubt:
                self._warn(found.doubt)
        return self.state.found_rate

    def _epoch(self, phase: Phase, run: PhaseRun, *, is_last: bool) -> None:
        state, ctx, started = self.state, self.ctx, time.perf_counter()
        number = state.epoch + 1
        reached = "" if state.best.top1 is None else f", validation {state.best.top1:.1%}"

        def tell(loss: float, top1: float) -> None:
            note = f"epoch {number}/{phase.last}  loss {loss:.3f}, top-1 {top1:.1%}{reached}"
            self.ctx.progress.advance(1, note)

        from featherlite.training.phases import NotFiniteError

        try:
            loss, top1 = run.epoch(ctx.epoch_shift + number, tell)
            run.optimizer.swap_averages()
            run.store()
            judged = self.judge.judge(state, run, number, top1)
        except NotFiniteError as error:
            raise self._not_finite(phase, number, error.batch) from None
        better = state.best.worse_than(judged)
        if better:
            state.best, state.kept = judged, self.weights.read()
        if self.config.keep_epochs:
            keep_epoch(self.network, number, self.fingerprint, self.ctx)
        run.optimizer.swap_averages()
        run.store()
        state.curve.append(self._entry(phase, run, loss, top1, judged, round(time.perf_counter() - started, 3)))
        state.epoch = number
        if not better and self.judge.destroyed(state, top1, judged):
            self._rescue(phase, run)
        self._adapt(phase, run, judged, is_last=is_last)
        state.weights, state.optimizer = self.weights.read(), Snapshot(run.optimizer.variables).read()
        write_state(self.path, state, self.fingerprint)

    def _entry(
        self, phase: Phase, run: PhaseRun, loss: float, top1: float, judged: Best, seconds: float
    ) -> dict[str, Any]:
        """What the curve says of an epoch."""
        last = (judged.epoch - phase.course[0]) * run.steps - 1
        rate = self._table(phase, run.steps)[last] * np.float32(self.state.rate_factor)
        return {
            "epoch": judged.epoch,
            "phase": phase.name,
            "loss": loss,
            "train_top1": top1,
            "val_loss": judged.loss,
            "val_top1": judged.top1,
            "rate": float(rate),
            "seconds": seconds,
        }

    def _adapt(self, phase: Phase, run: PhaseRun, judged: Best, *, is_last: bool) -> None:
        """Lowers the rate on a plateau, and ends a course that no longer brings anything."""
        state, config, (first, last) = self.state, self.config, phase.course
        if config.schedule == "plateau" and judged.epoch - first > config.warmup * (last - first):
            assert judged.loss is not None
            if state.plateau.reached(judged.loss, config.plateau_patience):
                state.rate_factor *= config.plateau_factor
                run.optimizer.rate_factor.assign(state.rate_factor)
        # On smaller photos than its own the network need not become better, so that these sizes are never cut short.
        waited = state.epoch - max(state.best.epoch, phase.first)
        if phase.name != HEAD_PHASE and phase.last == last and 0 < config.patience <= waited:
            state.stopped_early = is_last
            state.epoch = state.epoch if is_last else last

    # ---- what can go wrong ---------------------------------------------------------------------------------------

    def _rescue(self, phase: Phase, run: PhaseRun) -> None:
        state, judged = self.state, self.state.curve[-1]
        state.rescues += 1
        state.rate_factor *= RESCUE_FACTOR
        self.weights.assign(state.kept)
        run.load()
        state.optimizer_since = state.epoch
        if state.epoch < phase.course[1]:
            self._compile(phase, run)
        self._warn(
            f"Epoch {state.epoch} destroyed the weights: validation top-1 fell from {state.best.top1:.3f} to "
            f"{judged['val_top1']:.3f}. Training goes on from epoch {state.best.epoch} with the rate times "
            f"{state.rate_factor:.3g}; a lower rate than {self._rate(phase):g} avoids this."
        )

    def _not_finite(self, phase: Phase, number: int, batch: int) -> TrainingError:
        self.weights.assign(self.state.kept)
        return TrainingError(
            f"The loss is not a finite number at epoch {number}, batch {batch} (phase '{phase.name}', peak rate "
            f"{self._rate(phase) * self.state.rate_factor:g}). The weights of epoch {self.state.best.epoch} are kept.",
            f"Lower {'head_rate' if phase.name == HEAD_PHASE else 'rate'}, or set clip_norm.",
        )

    def _warn(self, message: str) -> None:
        self.state.warnings.append(message)
        self.ctx.warn(message)

    def _result(self) -> FitResult:
        state, best, epochs = self.state, self.state.best, len(self.state.curve)
        self.ctx.record("curve", state.curve)
        facts = {"best_epoch": best.epoch, "val_top1": best.top1, "val_loss": best.loss, "epochs": epochs}
        self.ctx.record("fit", facts | {"stopped_early": state.stopped_early, "rescues": state.rescues})
        if state.found_rate is not None:
            self.ctx.record("found_rate", state.found_rate)
        if self.config.keep_epochs:
            self.ctx.record("epochs_kept", str(epochs_folder(self.fingerprint, self.ctx)))
        return FitResult(best.epoch, best.top1, best.loss, epochs, state.stopped_early, state.curve)
