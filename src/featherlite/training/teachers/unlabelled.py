"""Photos without labels that may join a training: none that a split knows, and none that looks like a held-out one."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from featherlite.bundle import Bundle
from featherlite.data.near import ALIKE, near_duplicates
from featherlite.data.source import Photo, Scan, scan
from featherlite.data.splits import read_splits
from featherlite.data.unlabelled import scan_unlabelled
from featherlite.errors import DataError
from featherlite.step import Context

__all__ = ["Joining", "joining_photos"]

TRAIN = "train"


@dataclass(frozen=True)
class Joining:
    """The photos that join ((path, sha256) each), and how many did not, by why."""

    root: Path
    photos: tuple[tuple[str, str], ...]
    found: int
    repeated: int
    in_train: int
    held_out: int
    like_held_out: int
    unreadable: int

    def facts(self) -> dict[str, object]:
        """The counts, as a step records them."""
        told = asdict(self) | {"root": str(self.root), "joined": len(self.photos)}
        del told["photos"]
        return told


def joining_photos(bundle: Bundle, root: Path, ctx: Context) -> Joining:
    """The photos under `root` that may be shown to the network in training.

    Left out are copies of photos of any split, repeats, and whatever looks like a photo of the validation, calibration
    or test split (likeness from ALIKE on, also by way of a third photo): a network must not see what it is judged on.

    Raises:
        DataError: no such folder, no readable photo in it, or none is left.
    """
    found = scan_unlabelled(root, ctx.progress, ctx.cache)
    splits = read_splits(bundle)
    split_of = dict(zip(splits.sha256, splits.split, strict=True))
    # A held-out photo's split must win where one content stands in several.
    split_of |= {sha: split for sha, split in zip(splits.sha256, splits.split, strict=True) if split != TRAIN}
    why: Counter[str] = Counter()
    candidates: dict[str, int] = {}
    for number, photo in enumerate(found.photos):
        split = split_of.get(photo.sha256)
        if split is not None:
            why["in_train" if split == TRAIN else "held_out"] += 1
        elif photo.sha256 in candidates:
            why["repeated"] += 1
        else:
            candidates[photo.sha256] = number
    numbers = list(candidates.values())
    alike = _like_held_out(found, numbers, {sha for sha, split in split_of.items() if split != TRAIN}, ctx)
    photos = tuple(
        (found.photos[number].path, found.photos[number].sha256) for number in numbers if number not in alike
    )
    why["like_held_out"] = len(alike)
    _tell(root, len(found.photos), len(photos), why, ctx)
    return Joining(
        root=root,
        photos=photos,
        found=len(found.photos),
        repeated=why["repeated"],
        in_train=why["in_train"],
        held_out=why["held_out"],
        like_held_out=len(alike),
        unreadable=len(found.faults),
    )


def _tell(root: Path, found: int, joining: int, why: Counter[str], ctx: Context) -> None:
    leaks = why["held_out"] + why["like_held_out"]
    if not joining:
        raise DataError(
            f"unlabelled: of the {found} photos under {root} none can join: {why['in_train']} are training photos "
            f"already, {why['repeated']} are repeats, {leaks} are validation, calibration or test photos or look like "
            "them.",
            "Give a folder with other photos.",
        )
    if leaks:
        ctx.warn(
            f"{leaks} of the {found} unlabelled photos are left out: {why['held_out']} are copies of validation, "
            f"calibration or test photos, {why['like_held_out']} look like one."
        )


def _like_held_out(found: Scan, numbers: list[int], held_out: set[str], ctx: Context) -> set[int]:
    """Those of the numbered photos that are joined to a held-out photo through near-duplicates."""
    known = scan(ctx.photos_root(), ctx.progress, ctx.cache, strict=False)
    theirs = [number for number, photo in enumerate(known.photos) if photo.sha256 in held_out]
    if not theirs or not numbers:
        return set()
    photos: list[Photo] = [known.photos[number] for number in theirs] + [found.photos[number] for number in numbers]
    looks = np.concatenate([known.looks[theirs], found.looks[numbers]])
    twins = near_duplicates(photos, looks, ctx.progress).at_least(ALIKE)
    alike: set[int] = set()
    for cluster in twins.clusters:
        if cluster[0] < len(theirs):  # sorted, and the held-out photos come first
            alike |= {numbers[member - len(theirs)] for member in cluster if member >= len(theirs)}
    return alike
