"""What the audit's page knows of the checks and of the photos, before it shows them."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path

from featherlite.data.audit import Audit
from featherlite.data.checks import check_names, load_check
from featherlite.data.findings import Issue
from featherlite.data.source import Photo
from featherlite.report.templating import visible
from featherlite.report.thumbnails import without_places

__all__ = ["CheckFacts", "Facts", "check_facts", "doubts_label", "is_absolute", "known_photos"]

EXAMPLES = 3
"""Typical photos of a label that a doubted one is shown beside."""


@dataclass(frozen=True)
class CheckFacts:
    """What is known of a check: its name as a title, what it looks for, why that matters, whether it stops a run."""

    name: str
    title: str
    summary: str
    paragraphs: tuple[str, ...] = ()
    blocks: bool = False

    @property
    def anchor(self) -> str:
        """The name as a place on the page, whatever signs it has."""
        return "check-" + re.sub(r"[^a-z0-9-]", "-", self.name)


@dataclass(frozen=True)
class Facts:
    """The audited photos that the page speaks of: by path, their size in pixels, and typical photos of some labels.

    `doubting` are the checks that doubt labels: their photos are shown beside typical ones. `at_hand` says that the
    photos were looked at: then a path that is not among them is a file that cannot be used.
    """

    photos: Mapping[str, Photo]
    sizes: Mapping[str, str] = field(default_factory=dict)
    typical: Mapping[str, Sequence[Photo]] = field(default_factory=dict)
    doubting: frozenset[str] = frozenset()
    at_hand: bool = True
    roots: tuple[Path | None, ...] = ()

    def text(self, words: str) -> str:
        """A message without this machine's folders, and with nothing in it that cannot be seen."""
        return visible(without_places(words, *self.roots))

    def place(self, path: str) -> str:
        """A photo's path as it may be shown; folders are told only where they lie within the photos."""
        return visible(without_places(path, *self.roots) if is_absolute(path) else path)


def check_facts(name: str) -> CheckFacts:
    """What is known of a check; of one that is not known any more just its name."""
    title = visible(name.replace("-", " ").capitalize())
    if name not in check_names():
        return CheckFacts(name, title, "a check that this version of featherlite does not have")
    check = load_check(name)
    said = inspect.cleandoc(getattr(inspect.getmodule(check.judge), "__doc__", None) or "")
    rest = re.split(r"\n\s*\n", said.partition("\n")[2].strip())
    return CheckFacts(
        name, title, check.summary, tuple(" ".join(part.split()) for part in rest if part.strip()), check.blocks
    )


def known_photos(result: Audit) -> Facts:
    """The photos that any issue concerns, and a few that none does of each label that a suggestion names."""
    concerned = {path for issue in result.issues for path in issue.paths}
    doubting = frozenset(issue.check for issue in result.issues if doubts_label(issue))
    doubted = {path for issue in result.issues if issue.check in doubting for path in issue.paths}
    compared = {issue.to for issue in result.issues if doubts_label(issue)}
    photos: dict[str, Photo] = {}
    sizes: dict[str, str] = {}
    looks = result.scan.looks
    for number, photo in enumerate(result.scan.photos):
        if photo.path in concerned:
            photos[photo.path] = photo
            if number < len(looks):
                sizes[photo.path] = f"{looks['width'][number]} × {looks['height'][number]}"
            if photo.path in doubted:
                compared.add(photo.label)
    clean: dict[str, list[Photo]] = defaultdict(list)
    for photo in result.scan.photos:
        if photo.label in compared and photo.path not in concerned:
            clean[photo.label].append(photo)
    typical = {label: nsmallest(EXAMPLES, some, key=lambda photo: photo.sha256) for label, some in clean.items()}
    photos |= {photo.path: photo for some in typical.values() for photo in some}
    root = result.scan.root
    at_hand = bool(result.scan.photos or result.scan.faults)
    return Facts(photos, sizes, typical, doubting, at_hand, (root.parent if root.is_file() else root, root))


def doubts_label(issue: Issue) -> bool:
    """Whether another label is named for the one photo that the issue is about."""
    return bool(issue.to) and len(issue.paths) == 1


def is_absolute(path: str) -> bool:
    """Whether a path tells folders of this machine, on whichever system it was written."""
    return path.startswith(("/", "\\")) or path[1:3] in (":\\", ":/")
