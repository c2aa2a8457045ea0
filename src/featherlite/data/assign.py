"""Who goes into which split: seeded, stratified by class, stable, and with no photo on two sides.

Photos that show the same picture or share a group form one *unit*; a unit goes into one split as a whole. Within each
class, units are ranked by a hash of (seed, unit), and each split takes the best ranked that are left: test first, then
val, then calibration. A photo more or less therefore moves few others, and the test split does not depend on how large
the others are asked to be.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featherlite.data.listing import GUARDED
from featherlite.data.source import Photo
from featherlite.data.union import Union

__all__ = ["Unit", "cut", "folds", "keep_at_most", "settle", "units_of"]


@dataclass(frozen=True)
class Unit:
    """Photos that must stay together: `key` names them for good, `label` is the class they count for."""

    key: str
    label: str
    photos: tuple[Photo, ...]


def units_of(photos: Sequence[Photo], twins: Iterable[Sequence[str]] = ()) -> list[Unit]:
    """The photos joined into units by equal content, equal group and clusters of twins (sha256s), sorted by key."""
    union: Union[str] = Union()  # "group:" sorts first, so adding a photo keeps the name
    for photo in photos:
        if photo.group is not None:
            union.join(f"sha256:{photo.sha256}", f"group:{photo.group}")
    for cluster in twins:
        for sha256 in cluster[1:]:
            union.join(f"sha256:{cluster[0]}", f"sha256:{sha256}")
    members: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        members[union.root(f"sha256:{photo.sha256}")].append(photo)
    return [Unit(key, _majority(members[key]), tuple(members[key])) for key in sorted(members)]


def keep_at_most(units: Sequence[Unit], per_class: int, seed: int) -> list[Unit]:
    """At most `per_class` photos of each class in whole units, drawn by the seed (one unit at least)."""
    kept: list[Unit] = []
    taken: Counter[str] = Counter()
    for unit in sorted(units, key=lambda unit: _rank(seed, "keep", unit.key)):
        size = len(unit.photos)
        if taken[unit.label] + size <= per_class or not taken[unit.label]:
            taken[unit.label] += size
            kept.append(unit)
    return sorted(kept, key=lambda unit: unit.key)


def settle(units: Sequence[Unit], given: Mapping[str, str]) -> tuple[dict[str, str], list[Unit]]:
    """Unit key -> split for every unit with a photo in `given` (path -> split), and the units whose photos disagree.

    A unit whose photos were given to two splits goes to the one that must be kept cleanest (`GUARDED`).
    """
    settled: dict[str, str] = {}
    torn: list[Unit] = []
    for unit in units:
        wanted = {given[photo.path] for photo in unit.photos if photo.path in given}
        if wanted:
            settled[unit.key] = min(wanted, key=GUARDED.index)
        if len(wanted) > 1:
            torn.append(unit)
    return settled, torn


def cut(units: Sequence[Unit], fractions: Mapping[str, float], seed: int, has_train: frozenset[str]) -> dict[str, str]:
    """Unit key -> split for free units. `fractions` are of these units' photos, in the order in which they are cut.

    The fractions hold over the whole set even where a class is too small for them: of 3 photos a class, 15% is one
    photo in 45% of the classes (the largest remainders win, ties are drawn by the seed). Every class keeps a unit for
    training; classes in `has_train` have one elsewhere.
    """
    ranked: dict[str, list[Unit]] = defaultdict(list)
    for unit in sorted(units, key=lambda unit: _rank(seed, "split", unit.key)):
        ranked[unit.label].append(unit)
    size = {label: _photos(its) for label, its in ranked.items()}
    spare = {label: its if label in has_train else its[:-1] for label, its in ranked.items()}
    result = {unit.key: "train" for unit in units}
    taken: Counter[str] = Counter()
    so_far = 0.0
    for split, fraction in fractions.items():
        so_far += fraction
        if fraction == 0:
            continue
        claims = {label: so_far * count - taken[label] for label, count in size.items()}
        seats = round(so_far * sum(size.values())) - taken.total()
        chosen = _choose(seats, claims, spare, f"{seed}/{split}")
        for unit in chosen:
            taken[unit.label] += len(unit.photos)
            result[unit.key] = split
        spare = {label: [unit for unit in its if result[unit.key] == "train"] for label, its in spare.items()}
    return result


def folds(units: Sequence[Unit], count: int, seed: int) -> dict[str, int]:
    """Unit key -> fold, 0 to count - 1: about equally many photos in each, over the whole set and within each class."""
    everywhere = frozenset(unit.label for unit in units)
    shares = {str(number): 1 / count for number in range(count - 1)}
    result = cut(units, shares, seed, everywhere)
    return {key: count - 1 if name == "train" else int(name) for key, name in result.items()}


def _choose(seats: int, claims: Mapping[str, float], spare: Mapping[str, Sequence[Unit]], salt: str) -> list[Unit]:
    """About `seats` photos in whole units: of each class the best ranked that bring it nearer to its quota.

    Where units are large, the quotas of small classes round to nothing; what is then missing over the whole set is
    taken in the smallest units of the classes with the largest claim left.
    """
    room = {label: _photos(units) for label, units in spare.items()}
    chosen: list[Unit] = []
    for label, quota in _quotas(seats, claims, room, salt).items():
        for unit in spare[label]:
            if quota > 0 and len(unit.photos) < 2 * quota:
                chosen.append(unit)
                quota -= len(unit.photos)
    missing = seats - _photos(chosen)
    used = {unit.key for unit in chosen}
    got = Counter(dict.fromkeys(claims, 0))
    for unit in chosen:
        got[unit.label] += len(unit.photos)
    left = {
        label: sorted((unit for unit in its if unit.key not in used), key=lambda unit: -len(unit.photos))
        for label, its in spare.items()
    }
    heap = [(got[label] - claim, _rank(0, salt, label), label) for label, claim in claims.items()]
    heapq.heapify(heap)
    while missing > 0 and heap and heap[0][0] < 0:
        debt, rank, label = heapq.heappop(heap)
        if left[label] and len(left[label][-1].photos) < 2 * missing:
            unit = left[label].pop()
            chosen.append(unit)
            missing -= len(unit.photos)
            heapq.heappush(heap, (debt + len(unit.photos), rank, label))
    return chosen


def _quotas(seats: int, claims: Mapping[str, float], room: Mapping[str, int], salt: str) -> dict[str, int]:
    """Label -> photos: `seats` shared out one after another to the largest claim that is left, ties by the salt."""
    quotas: Counter[str] = Counter()
    heap = [(-claim, _rank(0, salt, label), label) for label, claim in claims.items() if room[label] > 0]
    heapq.heapify(heap)
    for _ in range(seats):
        if not heap:
            break
        claim, rank, label = heapq.heappop(heap)
        quotas[label] += 1
        if quotas[label] < room[label]:
            heapq.heappush(heap, (claim + 1, rank, label))
    return dict(quotas)


def _photos(units: Sequence[Unit]) -> int:
    return sum(len(unit.photos) for unit in units)


def _majority(photos: Sequence[Photo]) -> str:
    counts = Counter(photo.label for photo in photos)
    return min(counts, key=lambda label: (-counts[label], label))


def _rank(seed: int, purpose: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{key}".encode()).digest()
