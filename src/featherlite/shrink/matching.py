"""A changed stretch of a network taught to make what it made before: from the same inputs, the same feature map.

The stretch learns alone, outside its network, so a step costs a fraction of the whole network's; and what it is given
is computed once, since nothing before it changes.

Source: A. Romero et al., "FitNets: Hints for Thin Deep Nets" (arXiv:1412.6550), section 2.2; here the hint is the
stretch's own former output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.surgery.leftovers import drop, training_layers
from featherlite.models.surgery.stretches import Stretch, network_of, output_of
from featherlite.preprocess import network_input
from featherlite.shrink.chosen import drawn
from featherlite.step import Context
from featherlite.training.batchnorm import norms, reestimate
from featherlite.training.checkpoint import Snapshot

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet

__all__ = ["Matching", "match_stretch"]

HELD_BYTES = 256 * 2**20
"""Inputs and wanted outputs kept in memory at a time, at most."""
MATCH = 6
"""The stream of random numbers that picks photos and their order."""
PORTION = 64
"""Photos computed at a time."""
LARGEST_HALF = 6e4
"""What still fits into a float16."""


@dataclass(frozen=True)
class Matching:
    """How a stretch is taught: epochs over at most so many photos, in batches, at a peak rate that falls to zero."""

    epochs: int
    rate: float
    photos: int
    batch: int


def match_stretch(
    former: keras.Model, changed: keras.Model, stretch: Stretch, train: PhotoSet, matching: Matching, ctx: Context
) -> dict[str, Any]:
    """Trains the stretch within `changed`, in place, to make the former one's output; what came of it, as facts.

    BatchNorm's statistics within it are renewed first. `before`, `renewed` and `after` are squared errors, as shares of
    the output's variance; what does not lower it is taken back.
    """
    teacher = _plain(network_of(former, stretch))
    student = _plain(network_of(changed, stretch))
    random = np.random.default_rng([ctx.seed, 0, 0, MATCH])
    inputs, wanted = _pairs(former, teacher, stretch, train, matching.photos, random)
    scale = float(np.var(wanted, dtype=np.float64)) or 1.0
    rows = random.permutation(len(inputs))  # photos lie by class, and a batch of one class has statistics of its own
    batch = min(matching.batch, len(rows))
    held, best = _Best(student), _error(student, inputs, wanted)
    facts = {"photos": len(rows), "before": best / scale}
    if norms(student):
        reestimate(student, inputs, rows, max(batch, min(32, len(rows))))
        best = held.better(best, _error(student, inputs, wanted))
        facts["renewed"] = best / scale
    if matching.epochs and student.trainable_weights:
        _train(student, inputs, wanted, scale, matching, random, ctx)
        reestimate(student, inputs, rows, max(batch, min(32, len(rows))))
        best = held.better(best, _error(student, inputs, wanted))
    for layer in student.layers:
        if layer.weights:
            changed.get_layer(layer.name).set_weights(layer.get_weights())
    return facts | {"after": best / scale}


class _Best:
    """The weights with the smallest error so far."""

    def __init__(self, network: keras.Model) -> None:
        self.weights = Snapshot(network.weights)
        self.kept = self.weights.read()

    def better(self, best: float, error: float) -> float:
        """Keeps the present weights where they are better, else takes the former ones back; the smaller error."""
        if error < best:
            self.kept = self.weights.read()
            return error
        self.weights.assign(self.kept)
        return best


def _plain(network: keras.Model) -> keras.Model:
    """Without dropout and its like: noise in the output would be an error that cannot be learned away."""
    return drop(network, training_layers(network))


def _pairs(
    former: keras.Model, teacher: keras.Model, stretch: Stretch, train: PhotoSet, most: int, random: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the stretch is given for photos drawn at random, and what the former one makes of it; in half precision."""
    numbers = int(np.prod(teacher.input_shape[1:])) + int(np.prod(teacher.output_shape[1:]))
    count = max(1, min(most, len(train.labels), HELD_BYTES // (2 * numbers)))
    rows = drawn(len(train.labels), count, random, "teach blocks their former outputs on")
    front = None if stretch.start is None else keras.Model(former.inputs[0], output_of(former, stretch.start))
    inputs, wanted = list[NDArray[Any]](), list[NDArray[Any]]()
    for start in range(0, count, PORTION):
        photos = network_input(np.ascontiguousarray(train.images[rows[start : start + PORTION]]))
        given = _half(photos if front is None else _answers(front, photos))
        inputs.append(given)
        wanted.append(_half(_answers(teacher, given.astype(np.float32))))
    return np.concatenate(inputs), np.concatenate(wanted)


def _half(values: NDArray[np.float32]) -> NDArray[Any]:
    return values.astype(np.float16) if np.abs(values).max(initial=0.0) < LARGEST_HALF else values


def _answers(model: keras.Model, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What it puts out, layer by layer: a graph for so few batches would take longer to compile than to run."""
    return np.asarray(keras.ops.convert_to_numpy(model(inputs, training=False)))


def _error(student: keras.Model, inputs: NDArray[Any], wanted: NDArray[Any]) -> float:
    total = 0.0
    for start in range(0, len(inputs), PORTION):
        part = slice(start, start + PORTION)
        made = _answers(student, inputs[part].astype(np.float32))
        total += float(np.square(made - wanted[part].astype(np.float32), dtype=np.float64).sum())
    return total / wanted.size


def _train(
    student: keras.Model,
    inputs: NDArray[Any],
    wanted: NDArray[Any],
    scale: float,
    matching: Matching,
    random: np.random.Generator,
    ctx: Context,
) -> None:
    """Adam on the mean squared error, the rate falling along a half cosine."""
    batch = min(matching.batch, len(inputs))
    steps = len(inputs) // batch
    rates = keras.optimizers.schedules.CosineDecay(matching.rate, max(1, matching.epochs * steps))
    student.compile(keras.optimizers.Adam(rates, clipnorm=1.0), "mse", loss_weights=[1 / scale], jit_compile="auto")
    ctx.progress.start("match features", matching.epochs * steps)
    for epoch in range(1, matching.epochs + 1):
        order = random.permutation(len(inputs))[: steps * batch].reshape(steps, batch)
        for rows in order:
            loss = student.train_on_batch(inputs[rows].astype(np.float32), wanted[rows].astype(np.float32))
            ctx.progress.advance(1, f"epoch {epoch}/{matching.epochs}  error {float(np.ravel(loss)[0]):.4f}")
    ctx.progress.finish()
