"""The learning rate for a network and its photos: tried out over a few steps at ever higher rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError, TrainingError
from featherlite.step import Context
from featherlite.training.config import FitConfig

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.training.guide import Guided
    from featherlite.training.phases import PhaseRun
    from featherlite.training.plan import Phase

__all__ = ["RateCurve", "doubtful", "find_rate", "smoothed", "suggestion"]

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 120
"""Steps from the lowest to the highest rate: 20 for each factor of ten."""
DECADES = 0.25
"""Deviation of the Gaussian that smooths the losses, in powers of ten of the rate."""
DIVERGED = 4.0
"""The sweep ends where the loss is so many times the lowest so far."""
SHARE = 1 / 3
AT_LEAST = 10
"""Steps that a curve needs to tell anything."""
DOUBT = "The loss hardly falls at any learning rate, so that the one suggested is doubtful."


@dataclass(frozen=True)
class RateCurve:
    """The loss at ever higher rates: what each step was taken at, its batch's loss before it, that smoothed.

    `doubt` says why the suggested rate may be a bad one; it is empty where nothing speaks against it.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    suggested: float
    doubt: str = ""


def find_rate(
    network: keras.Model,
    train: PhotoSet,
    config: FitConfig,
    ctx: Context,
    *,
    phase: Phase | None = None,
    guided: Guided | None = None,
    steps: int = STEPS,
) -> RateCurve:
    """The loss of this network's training at rates from 1e-6 to 1, and the peak rate that it suggests.

    The steps are those of `fit`: its batches, augmentation, losses and optimizer, at rates that grow by one factor.
    The network is left as it came, bit for bit. By default the first phase in which more than the head trains is tried
    out; where `phase` is given, its layers must be chosen already.

    Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186), section 3.3.

    Raises:
        DataError: no training photo, or photos that do not match the network.
        RequestError: the config asks for no training, or for what the network cannot do.
        TrainingError: the loss is no number from the beginning.
    """
    from featherlite.training.inputs import check_photos
    from featherlite.training.phases import start_phase
    from featherlite.training.unlocking import choose_layers, phases_of

    check_photos(network, train, None, unlabelled=guided is not None)
    flags = [layer.trainable for layer in network.layers]
    try:
        if phase is None:
            phase = _first_with_backbone(phases_of(network, config))
            choose_layers(network, phase, config, len(train.labels), flags)
        kept = [(one, one.numpy()) for one in _variables(network, *([guided.model] if guided else []))]
        try:
            run = start_phase(phase, network, train, None, config, ctx.seed, guided)
            rates, losses = _swept(run, ctx, steps)
        finally:
            for variable, value in kept:
                variable.assign(value)
    finally:
        for layer, flag in zip(network.layers, flags, strict=True):
            layer.trainable = flag
    smooth = smoothed(rates, losses)
    doubt = DOUBT if doubtful(losses, smooth) else ""
    return RateCurve(tuple(rates), tuple(losses), tuple(smooth.tolist()), suggestion(rates, smooth), doubt)


def _first_with_backbone(phases: Sequence[Phase]) -> Phase:
    from featherlite.training.plan import HEAD_PHASE

    if not phases:
        raise RequestError("epochs and head_epochs are both 0: there is no training to find a rate for.")
    return next((phase for phase in phases if phase.name != HEAD_PHASE), phases[0])


def _variables(*models: keras.Model) -> list[Any]:
    return list({id(one): one for model in models for one in model.variables}.values())


def _swept(run: PhaseRun, ctx: Context, steps: int) -> tuple[list[float], list[float]]:
    """Rates, and the mean loss of each step's micro-batches before it was taken; up to where it diverges."""
    table = np.geomspace(LOWEST, HIGHEST, steps).astype(np.float32)
    run.compile(table, 1.0)
    parts, losses = run.config.accumulate, []
    pending: list[float] = []
    ctx.progress.start("trying rates", steps)
    for inputs, wanted in _endless(run):
        run.model.reset_metrics()
        pending.append(float(run.model.train_on_batch(inputs, wanted, return_dict=True)["loss"]))
        if len(pending) < parts:
            continue
        loss, pending = sum(pending) / parts, []
        if not math.isfinite(loss):
            break
        losses.append(loss)
        ctx.progress.advance(1, f"rate {table[len(losses) - 1]:.1e}  loss {loss:.3f}")
        if len(losses) == steps or (len(losses) > AT_LEAST and loss > DIVERGED * min(losses)):
            break
    ctx.progress.finish()
    if len(losses) < AT_LEAST:
        raise TrainingError(
            f"The loss is no finite number after {len(losses)} steps at rates below {table[len(losses)]:.1e}.",
            "Look at the weights that the network starts from, and at the losses.",
        )
    return table[: len(losses)].tolist(), losses


def _endless(run: PhaseRun) -> Any:
    from featherlite.training.phases import reseed

    for epoch in count(1):
        reseed(run.model, run.seed, epoch)
        batches = run.batches_of(epoch)
        for index in range(len(batches)):
            yield batches[index]


def smoothed(rates: Sequence[float], losses: Sequence[float]) -> NDArray[np.float64]:
    """The losses averaged over their neighbors with Gaussian weights in the rate's logarithm: float64 [n].

    Neighbors on both sides: a running average, which knows only those before, would shift the curve to higher rates.
    """
    places = np.log10(np.asarray(rates, np.float64))
    weights = np.exp(-0.5 * ((places[:, None] - places) / DECADES) ** 2)
    return np.asarray(weights @ np.asarray(losses, np.float64) / weights.sum(axis=1))


def suggestion(rates: Sequence[float], smooth: Sequence[float] | NDArray[np.float64]) -> float:
    """A third of the rate at which the smoothed loss is lowest: the peak of a course whose steps all hold.

    Where it falls most steeply is often said to be the place. On flowers that was 27 to 270 times below the rates that
    trained best, since a slope drowns in the noise of the batches; the lowest place lay within 2 times of the best.
    """
    return float(rates[int(np.argmin(smooth))]) * SHARE


def doubtful(losses: Sequence[float], smooth: NDArray[np.float64]) -> bool:
    """Whether the loss fell by no more than the batches differ among themselves."""
    return float(smooth[0] - smooth.min()) < float(np.std(np.asarray(losses) - smooth))
