"""What the checks judge by: the photos of a scan, what one decode of each found out, and what was made of that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.data.discriminant import Rows
from featherlite.data.findings import Action, Issue
from featherlite.data.near import SAME, Twins, near_duplicates
from featherlite.data.source import Fault, Photo, Scan
from featherlite.step import Progress, Silent

__all__ = ["Embed", "Evidence"]

Embed = Callable[[Scan], Rows]


@dataclass(eq=False)
class Evidence:
    """The scan and, made when first asked for, what is dear: near-duplicates, and features by a frozen network.

    `embed` makes the features: float32 [n, d], one row a photo in the order of `photos`; it is None where they are not
    wanted.
    """

    scan: Scan
    embed: Embed | None = None
    progress: Progress = field(default_factory=Silent)

    @property
    def photos(self) -> Sequence[Photo]:
        """All readable photos, sorted by path."""
        return self.scan.photos

    @property
    def faults(self) -> Sequence[Fault]:
        """All files and folders that are not used."""
        return self.scan.faults

    @property
    def looks(self) -> NDArray[np.void]:
        """What one decode found out, one row a photo in the order of `photos`; see data/look.py for the columns."""
        return self.scan.looks

    @cached_property
    def classes(self) -> dict[str, list[int]]:
        """Class name -> numbers of its photos, both in order."""
        members: dict[str, list[int]] = defaultdict(list)
        for number, photo in enumerate(self.photos):
            members[photo.label].append(number)
        return {label: members[label] for label in sorted(members)}

    @cached_property
    def alike(self) -> Twins:
        """The pairs of photos that a split must not separate."""
        return near_duplicates(self.photos, self.looks, self.progress)

    @cached_property
    def near(self) -> Twins:
        """Those of them that show the same picture, byte-identical ones among them."""
        return self.alike.at_least(SAME)

    @cached_property
    def features(self) -> Rows | None:
        """float32 [n, d] in the order of `photos`, or None where there is no way to make them."""
        return self.embed(self.scan) if self.embed is not None else None

    def torn_clusters(self, trait: Callable[[Photo], str | None]) -> Iterator[tuple[list[Photo], float]]:
        """The clusters of twins whose photos differ in a trait (None counts as nothing), with a likeness.

        That is the likeness of the most alike pair that differs; where only a chain joins such photos, of its weakest
        link.
        """
        links: dict[int, list[tuple[bool, float]]] = defaultdict(list)
        place = {member: number for number, cluster in enumerate(self.near.clusters) for member in cluster}
        for first, second, score in self.near.pairs():
            here, there = trait(self.photos[first]), trait(self.photos[second])
            links[place[first]].append((None not in (here, there) and here != there, min(score, 1.0)))
        for number, cluster in enumerate(self.near.clusters):
            photos = [self.photos[member] for member in cluster]
            if len({trait(photo) for photo in photos} - {None}) > 1:
                torn = [score for differs, score in links[number] if differs]
                yield photos, max(torn) if torn else min(score for _, score in links[number])

    def flag(
        self,
        check: str,
        scores: NDArray[Any],
        threshold: float,
        message: Callable[[int], str],
        action: Action = "look",
    ) -> Iterator[Issue]:
        """One issue for each photo whose score reaches the threshold, about that photo alone."""
        for number in np.flatnonzero(scores >= threshold).tolist():
            path = self.photos[number].path
            yield Issue(check, (path,), float(min(1.0, scores[number])), message(number), action, (path,))
