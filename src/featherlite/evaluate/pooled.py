"""Scores over several seeds on the same photos, with intervals that hold photos and seeds for chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featherlite.comparison import Score
from featherlite.evaluate.metrics import RESAMPLES, confusion, macro_f1, macro_f1_interval
from featherlite.history import Estimate, wilson, wilson_interval

__all__ = ["INTERVAL", "INTERVAL_OF_SEEDS", "mean_estimate", "mean_macro_f1"]

NORMAL = 1.959963984540054
"""The 97.5% quantile of the normal distribution."""
DRAWN = 10_000_000
"""Draws of the bootstrap held in memory at once."""

INTERVAL = "95% intervals: Wilson's score interval over the photos."
INTERVAL_OF_SEEDS = (
    "95% intervals of the mean over the seeds: Wilson's score interval at the number of photos that would vary as much,"
    " where the variance is that between photos divided by their number plus that between seeds divided by theirs, and"
    " widened by Student's t for how little a few seeds tell of their variance."
)


def mean_estimate(hits: NDArray[np.bool_], split: str | None = None) -> Estimate:
    """The share of hits bool [photos, seeds] with its 95% interval; `n` is the number of photos.

    With one seed it is Wilson's interval. With several, the variance of the mean is taken as that between photos
    (their shares over the seeds) plus that between seeds; what is left over when both are taken out counts in each of
    the two, which errs on the wide side. Wilson's interval is then formed at the number of photos that would give this
    variance, with Student's quantile at the degrees of freedom that the seeds leave: a few tell little of how much
    seeds vary.

    Source: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), for the variance of a mean
    over two crossed factors; F. E. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components",
    Biometrics Bulletin 2 (1946), equation 17, for its degrees of freedom.
    """
    from scipy.stats import t

    photos, seeds = hits.shape
    if seeds == 1:
        return wilson(int(hits.sum()), photos, split)
    share = float(hits.mean())
    of_photos, of_seeds = float(hits.mean(axis=1).var() / photos), float(hits.mean(axis=0).var(ddof=1) / seeds)
    variance = of_photos + of_seeds
    effective = min(float(photos * seeds), share * (1 - share) / variance) if variance else float(photos)
    quantile = NORMAL
    if of_seeds:
        quantile = float(t.ppf(0.975, (seeds - 1) * (variance / of_seeds) ** 2))
    low, high = wilson_interval(share, effective, quantile)
    return Estimate(value=share, low=low, high=high, n=photos, split=split)


def mean_macro_f1(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, resamples: int = RESAMPLES
) -> Score:
    """The mean macro-F1 over the seeds: true classes int64 [photos], answers int64 [photos, seeds].

    The 95% interval is a percentile bootstrap; with several seeds both photos and seeds are drawn again, as in the
    pigeonhole bootstrap (see `mean_estimate`).
    """
    matrices = [confusion(labels, one, classes) for one in predicted.T]
    value = float(np.mean([macro_f1(matrix) for matrix in matrices]))
    if len(matrices) == 1:
        low, high = macro_f1_interval(matrices[0], resamples=resamples)
        return Score(value=value, low=low, high=high)
    random = np.random.default_rng(0)
    photos, seeds = predicted.shape
    true = np.eye(classes, dtype=np.float32)[labels]
    of_seed = np.empty((resamples, seeds))
    some = max(1, DRAWN // photos)
    for start in range(0, resamples, some):
        rows = slice(start, min(start + some, resamples))
        count = rows.stop - rows.start
        drawn = random.multinomial(photos, np.full(photos, 1 / photos), size=count).astype(np.float32)
        for place in range(seeds):
            guessed = np.eye(classes, dtype=np.float32)[predicted[:, place]]
            hits, occurrences = drawn @ (true * guessed), drawn @ (true + guessed)
            f1 = np.divide(2 * hits, occurrences, out=np.zeros_like(hits), where=occurrences > 0)
            of_seed[rows, place] = f1.sum(axis=1) / (occurrences > 0).sum(axis=1)
    chosen = random.integers(seeds, size=(resamples, seeds))
    low, high = np.percentile(np.take_along_axis(of_seed, chosen, axis=1).mean(axis=1), [2.5, 97.5])
    return Score(value=value, low=float(low), high=float(high))
