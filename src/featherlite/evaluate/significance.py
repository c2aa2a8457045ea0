"""Whether one network is really better than another on the same photos, or only luckier."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

__all__ = ["flip_test", "holm", "mcnemar", "paired_test", "seeds_test"]


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value of two networks of which each alone was right on so many photos.

    Photos on which both are right, or both wrong, say nothing about which is better.

    Raises:
        ValueError: a count is negative.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), in its exact binomial form.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"counts of photos are not negative: {only_first}, {only_second}")
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(islice(_ways(n), fewer + 1))
    return min(1.0, 2 * tail / (1 << n))


def flip_test(differences: NDArray[np.int64]) -> float:
    """The two-sided exact p-value of a sum of paired differences, int64 [photos], under random signs.

    A difference is how many more seeds of the first network than of the second were right on that photo. Were the
    networks equally good, each photo's difference could as well have the other sign; the p-value is the share of all
    2^photos choices of signs whose sum is at least as far from zero. The seeds' answers to one photo, which are alike,
    thus count as one observation. With one seed it is McNemar's test.

    Source: R. A. Fisher, "The Design of Experiments" (1935), section 21; the sum's distribution is had exactly, by
    convolving one binomial distribution for each size of difference.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    distribution, reach = np.ones(1), 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        sums = np.zeros(2 * size * count + 1)
        sums[:: 2 * size] = _fair_coins(count)
        distribution, reach = np.convolve(distribution, sums), reach + size * count
    observed = abs(int(differences.sum()))
    if observed == 0:
        return 1.0
    return min(1.0, 2 * float(distribution[reach + observed :].sum()))


def seeds_test(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The two-sided p-value of a difference in top-1 where photos and seeds are both held for chance.

    `one` and `other` are hits, bool [photos, seeds], on the same photos under at least two seeds each. The variance of
    the difference is that of the photos' differences, plus for each network what its seeds vary beyond what single
    answers do; t has as many degrees of freedom as these parts leave, few where a few seeds make most of it.

    Source: F. E. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", Biometrics
    Bulletin 2 (1946), equation 17.
    """
    from scipy.stats import t

    photos = len(one)
    difference = float(one.mean() - other.mean())
    parts = [(float((one.mean(axis=1) - other.mean(axis=1)).var(ddof=1)) / photos, photos - 1)]
    parts += [(_between_seeds(hits), hits.shape[1] - 1) for hits in (one, other)]
    variance = math.fsum(part for part, _ in parts)
    if variance == 0:
        return 0.0 if difference else 1.0
    freedom = 1 / sum((part / variance) ** 2 / left for part, left in parts)
    return float(2 * t.sf(abs(difference) / variance**0.5, freedom))


def paired_test(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The p-value of a difference between hits, bool [photos, seeds], of two networks on the same photos and seeds.

    With one seed it is McNemar's. With several the difference must be more than photos make, by the exact test, and
    more than photos and seeds make together: the larger of the two p-values.
    """
    exact = flip_test(one.sum(axis=1) - other.sum(axis=1, dtype=np.int64))
    photos, seeds = one.shape
    return exact if seeds < 2 or photos < 2 else max(exact, seeds_test(one, other))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for being several, in their order: the chance of any false alarm among them stays 5%.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979).
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def _between_seeds(hits: NDArray[np.bool_]) -> float:
    """What the seeds add to the variance of the mean of bool [photos, seeds], beyond the chance of single answers."""
    photos, seeds = hits.shape
    left = hits - hits.mean(axis=1, keepdims=True) - hits.mean(axis=0, keepdims=True) + hits.mean()
    single = float((left**2).sum()) / ((photos - 1) * (seeds - 1))
    return max(0.0, float(hits.mean(axis=0).var(ddof=1) / seeds) - float(single / (photos * seeds)))


def _fair_coins(n: int) -> NDArray[np.float64]:
    """The probability of 0..n heads in n throws of a fair coin, each rounded once: float64 [n + 1]."""
    return np.array([ways / (1 << n) for ways in _ways(n)])


def _ways(n: int) -> Iterator[int]:
    """In how many ways n coins show 0, 1, ... n heads; each from the one before, which is far quicker than `comb`."""
    ways = 1
    for heads in range(n + 1):
        yield ways
        ways = ways * (n - heads) // (heads + 1)
