"""Which of several networks to ship under the user's weights, and why, in a sentence with numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featherlite.comparison import NOTABLE, Weigh

__all__ = ["Candidate", "Recommendation", "efficient", "recommend"]

_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth", 10: "a tenth"}


@dataclass(frozen=True)
class Candidate:
    """What one network would cost and give where it is shipped."""

    name: str
    top1: float
    size_bytes: int
    time_ms: float | None
    p_value: float
    """of the difference to the candidate with the best top-1, which itself has 1.0; corrected for their number"""
    n: int
    """photos behind the top-1"""
    form: str = "float32"
    """the artefact that is meant"""
    p_alone: float | None = None
    """the p-value before the correction; None where it is the same"""
    seeds: int = 1
    """trainings behind the top-1"""

    @property
    def tied(self) -> bool:
        """Whether its top-1 is not significantly worse than the best."""
        return self.p_value >= 0.05

    @property
    def sure(self) -> float:
        """By how much it is surer that the best is better than that it is worse, in [0, 1]."""
        return 1 - (self.p_value if self.p_alone is None else self.p_alone)


@dataclass(frozen=True)
class Recommendation:
    """The name, the reason in a sentence, and the names of all candidates that no other one beats in everything."""

    name: str | None
    reason: str
    efficient: tuple[str, ...]


def efficient(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other is at least as good as in top-1, size and time while better in one, in order.

    Time counts only where it is known of all.
    """
    timed = _timed(candidates)
    costs = [(-one.top1, one.size_bytes, one.time_ms if timed and one.time_ms is not None else 0) for one in candidates]
    return tuple(
        one
        for one, mine in zip(candidates, costs, strict=True)
        if not any(
            other != mine and all(theirs <= own for theirs, own in zip(other, mine, strict=True)) for other in costs
        )
    )


def recommend(candidates: Sequence[Candidate], weigh: Weigh) -> Recommendation:
    """The efficient candidate of least cost, and why.

    The cost is `weigh.accuracy` for each point of top-1 lost to the best, times `sure`, plus `weigh.size` for each
    doubling of the size over the smallest and `weigh.time` for each doubling of the time over the quickest. Doublings
    rather than bytes, since half of a megabyte matters on a chip and not on a phone; so the choice between two
    candidates does not hang on a third. Of equal costs the better top-1 wins, then the smaller size, then the name.

    A loss that is not significant is not taken for none: that few photos cannot tell fifteen points says nothing in
    favor of the worse network. It counts by 1 - p, about the chance that the loss is real less the chance that it is a
    gain in truth (p / 2, where either was as likely at first). No threshold is in it, so a photo more or less never
    turns everything over. p is not corrected for the number of candidates: that guards a claim, and a cost makes none.
    """
    if not candidates:
        return Recommendation(None, "No network finished, so there is none to recommend.", ())
    left = efficient(candidates)
    best = max(candidates, key=lambda one: (one.top1, one.p_value, -one.size_bytes))
    timed = _timed(candidates)
    smallest = max(1, min(one.size_bytes for one in candidates))
    quickest = min(one.time_ms or 0 for one in candidates) if timed else 0.0

    def cost(one: Candidate) -> float:
        lost = one.sure * 100 * (best.top1 - one.top1)
        doublings = math.log2(max(1, one.size_bytes) / smallest)
        waits = math.log2(one.time_ms / quickest) if timed and quickest and one.time_ms else 0.0
        return round(weigh.accuracy * lost + weigh.size * doublings + weigh.time * waits, 9)

    ranked = sorted(left, key=lambda one: (cost(one), -one.top1, one.size_bytes, one.name))
    chosen = ranked[0]
    names = tuple(one.name for one in left)
    if len(candidates) == 1:
        return Recommendation(chosen.name, f"{_called(chosen)}: the only network that finished.", names)
    if chosen.name != best.name:
        reason = _against_best(chosen, best, timed)
    elif len(ranked) > 1:
        reason = _best_against(chosen, ranked[1], timed)
    else:
        also = " or quicker" if timed else ""
        reason = f"{_called(chosen)}: {_top1(chosen)}, and no other is smaller{also}."
    if not timed and weigh.time:
        reason += " Time was not measured for all, and does not count."
    return Recommendation(chosen.name, reason, names)


def _against_best(chosen: Candidate, best: Candidate, timed: bool) -> str:
    """Why the most accurate one was not taken."""
    points = 100 * (best.top1 - chosen.top1)
    verdict = "not significant" if chosen.tied else "significant"
    gap = f"{points:.1f} points below" if points else "level with"
    told = f"{_called(chosen)}: {gap} {_called(best)} ({verdict}, {_p(chosen.p_value)}), {_costs(chosen, best, timed)}."
    return told + _untold(points, chosen)


def _best_against(chosen: Candidate, next_: Candidate, timed: bool) -> str:
    """Why the most accurate one was taken, held against the runner-up."""
    points = 100 * (chosen.top1 - next_.top1)
    verdict = "not significant" if next_.tied else "significant"
    gap = f"{points:.1f} points above" if points else "level with"
    return (
        f"{_called(chosen)}: {_top1(chosen)}, {gap} {_called(next_)} ({verdict}, "
        f"{_p(next_.p_value)}), {_costs(chosen, next_, timed)}."
    ) + _untold(points, next_)


def _untold(points: float, worse: Candidate) -> str:
    """What has to be known of a gap that may be chance though it is no small one."""
    if not worse.tied or round(points, 1) <= NOTABLE:
        return ""
    if worse.seeds > 1:
        return f" n = {worse.n} photos and {worse.seeds} seeds cannot tell such a difference; more of them would."
    return f" n = {worse.n} photos cannot tell such a difference; more test photos would."


def _costs(one: Candidate, other: Candidate, timed: bool) -> str:
    """The size and time of one in terms of the other's: 'a fifth of its size and half of its time'."""
    size = _share(one.size_bytes / max(1, other.size_bytes))
    if not timed or not one.time_ms or not other.time_ms:
        return f"at {size} its size"
    time = _share(one.time_ms / other.time_ms)
    return f"at {size} its size and time" if size == time else f"at {size} its size and {time} its time"


def _share(ratio: float) -> str:
    """A ratio in words: 0.2 -> 'a fifth of', 0.43 -> '43% of', 1.02 -> '102% of', 2.34 -> '2.3 times'."""
    for divisor, word in _PARTS.items():
        if abs(ratio * divisor - 1) < 0.06:
            return f"{word} of" if divisor > 2 else "half of"
    if ratio >= 1.5:
        return f"{ratio:.1f} times"
    return f"{ratio:.0%} of" if ratio >= 0.0095 else f"{ratio:.1%} of"


def _called(one: Candidate) -> str:
    return f"{one.name} in {one.form}"


def _top1(one: Candidate) -> str:
    return f"the best top-1 of what would ship ({one.top1:.1%}, n = {one.n})"


def _p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def _timed(candidates: Sequence[Candidate]) -> bool:
    return all(one.time_ms is not None for one in candidates)
