"""The last layer of a network, fitted on what the frozen layers before it say of the photos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import DataError, RequestError
from featherlite.training.inputs import check_photos
from featherlite.training.probing.features import last_layer, plain_features, view_features
from featherlite.training.probing.linear import Fitter, Linear, Scaling, Task, folds_of, log_loss, temperature

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet
    from featherlite.step import Context
    from featherlite.training.probe import ProbeConfig

__all__ = ["fit_last_layer"]

START = {"l2": 2, "standard": -1, "none": 0}
"""Powers of ten where the search for c begins: features of length 1 need larger weights than those of deviation 1."""
FARTHEST = 3
"""So many powers the search goes at most."""
Foretold = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Scores [m, classes] of photos that were not taught, and their labels [m]."""


def fit_last_layer(
    network: keras.Model, train: PhotoSet, val: PhotoSet | None, config: ProbeConfig, ctx: Context
) -> None:
    """Gives the network's last layer the fitted weights; records how they were chosen under `probe`.

    What is chosen (c, the confidence) is chosen on `val`; without one, on photos of `train` held out in turn.

    Raises:
        RequestError: the network's head is more than one dense layer, or is one of another kind.
        DataError: no training photo, or none of some class; photos that do not fit the network.
        StorageError: the disk has no room for the features.
    """
    check_photos(network, train, val)
    _refuse_untaught(train)
    dense = last_layer(network)
    fixed = isinstance(dense.kernel_constraint, keras.constraints.UnitNorm)
    _refuse_unfit(config, dense, fixed)
    frozen = keras.Model(network.input, dense.input)
    features = view_features(frozen, train.images, config, config.views, ctx)
    scaling = Scaling.of(features, config.normalized, config.kind == "cosine" or config.normalized == "l2")
    task = Task(features, scaling.apply(features), train.labels, len(train.classes), config.views)
    held = None if val is None else _held(plain_features(frozen, val.images, ctx), val, scaling)
    choice = _Choice(task, held, config, ctx)
    linear = choice.of_c() if config.kind == "logistic" else choice.of_temperature()
    weights = scaling.undone(linear)
    kernel = weights.weights / np.linalg.norm(weights.weights, axis=0) if fixed else weights.weights
    dense.set_weights([kernel, weights.bias][: len(dense.weights)])
    ctx.record("probe", {"kind": config.kind, "features": features.shape[1], "views": config.views} | choice.facts)


def _refuse_untaught(train: PhotoSet) -> None:
    counts = np.bincount(train.labels, minlength=len(train.classes))
    if (counts == 0).any():
        raise DataError(
            f"Class '{train.classes[int(np.argmin(counts))]}' has no photo to learn from.", "Split the photos again."
        )


def _refuse_unfit(config: ProbeConfig, dense: keras.layers.Dense, fixed: bool) -> None:
    """Refuses what a layer without bias, or with columns of fixed length, cannot hold."""
    if fixed and config.kind != "cosine":
        raise RequestError(
            f"kind {config.kind} cannot be written into a cosine head: it compares directions alone.",
            "Set kind to 'cosine', or build the network with head=plain.",
        )
    if not dense.use_bias and config.normalized != "l2":
        raise RequestError(
            f"normalize {config.normalized} needs a bias, and the layer '{dense.name}' has none.",
            "Set normalize to 'l2', or build the network with head=plain.",
        )


def _held(features: NDArray[np.float32], val: PhotoSet, scaling: Scaling) -> Task:
    return Task(features, scaling.apply(features), val.labels, len(val.classes))


class _Choice:
    """The choice of what photos that were not taught must decide: of c, or of the temperature."""

    def __init__(self, task: Task, val: Task | None, config: ProbeConfig, ctx: Context) -> None:
        self.task, self.val, self.config, self.ctx = task, val, config, ctx
        self.bias = config.normalized != "l2"
        self.all = np.ones(len(task.labels), bool)
        self.fold = folds_of(task.labels, config.folds, ctx.seed)
        numbers = () if val is not None else np.unique(self.fold[self.fold >= 0]).tolist()
        self.held = {number: self._fitter(self.fold != number) for number in numbers}
        if val is not None:
            self.held[-1] = self._fitter(self.all)
        self.facts: dict[str, Any] = {"normalize": config.normalized}
        self.tried: dict[int, tuple[float, float]] = {}

    def of_c(self) -> Linear:
        """Logistic regression with the c of the config, or with the one that foretells best."""
        c = self._searched() if self.config.c == "auto" else float(self.config.c)
        final = self._fitter(self.all)
        linear = final.fit(c)
        self.facts |= {"c": c, "converged": final.converged}
        if not final.converged:
            self.ctx.warn(f"Logistic regression with c = {c:g} did not come to its end: a smaller c does sooner.")
        return linear

    def of_temperature(self) -> Linear:
        """The closed form, its scores brought to the scale under which they foretell best."""
        scores, labels = self._foretold(1.0)
        scale = temperature(scores, labels)
        self.facts |= {"scale": scale} | self._judged_on(labels)
        return self._fitter(self.all).fit().times(scale)

    def _searched(self) -> float:
        """The power of ten that foretells best, found by going downhill from where good ones lie for such features."""
        power = START[self.config.normalized]
        if not self.held:
            self.ctx.warn(f"No class has a second photo to hold out, so nothing foretells c: 1e{power} is taken.")
            return 10.0**power
        way = 1 if self._loss(power + 1) <= self._loss(power) else -1
        while abs(power - START[self.config.normalized]) < FARTHEST and self._loss(power + way) < self._loss(power):
            power += way
        self.facts["tried"] = [
            {"c": 10.0**power, "log_loss": round(loss, 4), "top1": round(top1, 4)}
            for power, (loss, top1) in sorted(self.tried.items())
        ]
        return 10.0**power

    def _loss(self, power: int) -> float:
        if power not in self.tried:
            scores, labels = self._foretold(10.0**power)
            self.facts |= self._judged_on(labels)
            self.tried[power] = log_loss(scores, labels), float((scores.argmax(axis=1) == labels).mean())
        return self.tried[power][0]

    def _foretold(self, c: float) -> Foretold:
        """What is said of photos that were not taught; of the taught ones where no class has a second photo."""
        told = [self._told(number, fitter.fit(c)) for number, fitter in self.held.items()]
        told = told or [(self.task.scores(self._fitter(self.all).fit(c), np.flatnonzero(self.all)), self.task.labels)]
        return np.concatenate([scores for scores, _ in told]), np.concatenate([labels for _, labels in told])

    def _told(self, number: int, linear: Linear) -> Foretold:
        if self.val is not None:
            return self.val.scores(linear, np.arange(len(self.val.labels))), self.val.labels
        rows = np.flatnonzero(self.fold == number)
        return self.task.scores(linear, rows), self.task.labels[rows]

    def _judged_on(self, labels: NDArray[np.int64]) -> dict[str, Any]:
        where = "val" if self.val is not None else f"{len(self.held)} folds of train" if self.held else "train"
        return {"chosen_on": where, "chosen_on_photos": len(labels)}

    def _fitter(self, taught: NDArray[np.bool_]) -> Fitter:
        return Fitter(self.config.kind, self.task, taught, bias=self.bias)
