"""Which photos an epoch shows, in which order, and how much each class counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featherlite.training.config import FitConfig

__all__ = ["POWERS", "class_weights", "epoch_order", "micro_columns", "steps_per_epoch"]

ORDER, CHOICE = 1, 6
"""Which stream of random numbers: NumPy pads seeds with zeros, so the last word must never be one."""

POWERS = {"uniform": 0.0, "square_root": 0.5, "balanced": 1.0}
"""Of `balanced_choice`, by the name of the sampling."""

Indices = NDArray[np.int64]


def steps_per_epoch(count: int, batch: int) -> int:
    """Steps in which every photo is seen: the last batch is filled up."""
    return -(-count // min(batch, count))


def epoch_order(
    count: int, batch: int, seed: int, epoch: int, *, labels: Indices | None = None, power: float = 0.0
) -> Indices:
    """The photos of one epoch, int64 [steps, min(batch, count)]: a permutation, filled up from its own start.

    Filling up keeps every shape static (nothing is traced or compiled twice) and leaves no photo out. With a `power`
    above 0 it is a permutation of as many photos drawn by `balanced_choice`.
    """
    size = min(batch, count)
    order = np.random.default_rng([seed, epoch, 0, ORDER]).permutation(count)
    if power > 0 and labels is not None:
        order = balanced_choice(labels, power, np.random.default_rng([seed, epoch, 0, CHOICE]))[order]
    return np.resize(order, (steps_per_epoch(count, batch), size))


def balanced_choice(labels: Indices, power: float, rng: np.random.Generator) -> Indices:
    """As many photos as there are, int64 [n], a class of c photos in proportion to c^(1 - power).

    A power of 1 gives every class the same, 1/2 the square root of its own. Within a class no photo comes twice more
    often than another, and photos without a label (-1) come once each.
    """
    labelled = labels[labels >= 0]
    counts = np.bincount(labelled) if len(labelled) else np.zeros(0, np.int64)
    shares = np.where(counts > 0, counts.astype(np.float64) ** (1 - power), 0.0)
    # Systematic rounding: every class gets the integer below or above its share, and the sum stays.
    edges = np.concatenate([[0.0], np.cumsum(shares) / max(shares.sum(), 1e-12) * len(labelled)])
    wanted = np.diff(np.floor(edges + rng.random()).astype(np.int64))
    parts = [np.flatnonzero(labels < 0)]
    for number, many in enumerate(wanted.tolist()):
        if many:
            members = np.flatnonzero(labels == number)
            rounds = -(-many // len(members))
            parts.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:many])
    return np.resize(np.concatenate(parts), len(labels))


def micro_columns(size: int, parts: int) -> Indices:
    """How a batch is cut into micro-batches: places within it, int64 [parts, size / parts].

    Where their size is even, a photo and its partner for MixUp and CutMix (the batch in reverse order) stay together.
    """
    each = size // parts
    if each % 2:
        return np.arange(size).reshape(parts, each)
    front = np.arange(size // 2).reshape(parts, each // 2)
    return np.concatenate([front, size - 1 - front[:, ::-1]], axis=1)


def class_weights(labels: Indices, classes: int, config: FitConfig) -> NDArray[np.float32]:
    """How much each class counts in the loss: float32 [classes], of mean 1 over the photos that `sampling` draws.

    'balanced' goes by 1/c of a class's c photos; 'effective' by (1 - beta) / (1 - beta^c).
    Source: Y. Cui et al., "Class-Balanced Loss Based on Effective Number of Samples" (arXiv:1901.05555), equation 4;
    there the weights have mean 1 over the classes: ours leave the loss, and so the rate, as it was.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes).astype(np.float64)
    seen = counts > 0
    if config.class_weights == "none" or not seen.any():
        return np.ones(classes, np.float32)
    raw = np.zeros(classes)
    if config.class_weights == "balanced":
        raw[seen] = 1 / counts[seen]
    else:
        raw[seen] = (1 - config.effective_beta) / (1 - config.effective_beta ** counts[seen])
    drawn = np.where(seen, counts ** (1 - POWERS[config.sampling]), 0)
    raw *= drawn.sum() / (raw * drawn).sum()
    return raw.astype(np.float32)
