"""The photos of classes that a bundle does not have yet: found, and shared out as its own photos were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from featherlite.bundle import Bundle
from featherlite.data.assign import units_of
from featherlite.data.decisions import apply_decisions, bundle_decisions
from featherlite.data.listing import GUARDED, refuse_alike
from featherlite.data.near import near_duplicates
from featherlite.data.source import Photo, Scan, scan
from featherlite.data.split import SplitConfig, assign_splits, group_of
from featherlite.data.splits import SPLITS, Splits, read_splits
from featherlite.errors import DataError, RequestError, did_you_mean
from featherlite.shrink.classes import listed
from featherlite.step import Context

__all__ = ["Newcomers", "find_newcomers"]

Row = tuple[str, str, str, str | None, str]


@dataclass(frozen=True)
class Newcomers:
    """New classes, sorted by name, and the whole table of splits: the bundle's rows as they were, and the new ones."""

    classes: tuple[str, ...]
    splits: Splits
    added: tuple[Row, ...]


def find_newcomers(bundle: Bundle, asked: Sequence[str], folder: Path | None, ctx: Context) -> Newcomers:
    """The classes under the run's photos (or under `folder`) that the bundle lacks; only `asked` where some are named.

    They are shared out as the bundle's split was set up, or where its patterns do not fit them, in the same shares.
    What shows the same picture as a photo of the bundle, or is of its group, goes to that one's side.

    Raises:
        RequestError: there is no new class, or a named one is none.
        DataError: a new class has no photo that can be used, or none to train on; names that cannot be told apart.
    """
    root = ctx.photos_root() if folder is None else folder.absolute()
    seen = scan(root, ctx.progress, ctx.cache, strict=False)
    decided, _ = apply_decisions(seen.photos, bundle_decisions(bundle) if folder is None else ())
    found = replace(seen, photos=decided)
    known = [label.name for label in bundle.labels]
    classes = _new_classes(found, known, asked)
    refuse_alike([*known, *classes])
    old, config = read_splits(bundle), _former_config(bundle)
    new = [replace(photo, group=group_of(photo, config)) for photo in decided if photo.label in classes]
    twins = _twins(seen, folder is not None, config, ctx)
    rows = _shared_out(replace(found, photos=tuple(new)), old, twins, config, ctx)
    if folder is not None:  # not under the run's photos: named by where they lie
        base = root.parent if root.is_file() else root
        rows = [((base / row[0]).as_posix(), *row[1:]) for row in rows]
    return Newcomers(classes, Splits.from_rows([*old.rows(), *rows]), tuple(rows))


def _new_classes(found: Scan, known: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    new = [name for name in found.classes if name not in known]
    for name in asked:
        empty = next(
            (fault for fault in found.faults if fault.reason == "empty-class" and f"'{name}'" in fault.message), None
        )
        if name in known:
            raise RequestError(
                f"classes: the bundle has the class '{name}' already.", f"New are {listed(new)}." if new else ""
            )
        if name not in new and empty is not None:
            raise DataError(f"classes: {empty.path}: {empty.message}.", "Give it photos, or leave it out.")
        if name not in new:
            raise RequestError(f"classes: there are no photos of '{name}' in {found.root}.", did_you_mean(name, new))
    if not new:
        empty = next((fault for fault in found.faults if fault.reason == "empty-class"), None)
        seen = f" {empty.path}: {empty.message}." if empty is not None else ""
        raise RequestError(
            f"{found.root} has no class that the bundle lacks.{seen}",
            "Put a folder of photos for each new class beside the others, or name another folder with photos=FOLDER.",
        )
    return tuple(name for name in new if not asked or name in asked)


def _former_config(bundle: Bundle) -> SplitConfig:
    """How the bundle's photos were split, all classes included; where its history does not tell, in the same shares."""
    for report in reversed(bundle.history):
        if report.step == "split":
            known = {key: value for key, value in report.config.items() if key in SplitConfig.model_fields}
            return SplitConfig.model_validate(known | {"include": ()})
    return SplitConfig(**_shares(read_splits(bundle)))


def _shares(splits: Splits) -> dict[str, float]:
    counts = splits.counts()
    total = max(1, sum(counts.values()))
    return {name: counts[name] / total for name in SPLITS if name != "train"}


def _matching(config: SplitConfig, photos: Sequence[Photo], old: Splits, ctx: Context) -> SplitConfig:
    """The settings, but for patterns that a new class has no photo for: then all are shared out as the others lie."""
    patterns = {key: getattr(config, key) for key in ("test_files", "val_files")}
    classes = {photo.label for photo in photos}
    idle = {
        key: pattern
        for key, pattern in patterns.items()
        if pattern and {photo.label for photo in photos if fnmatchcase(photo.path, pattern)} < classes
    }
    if not idle:
        return config
    shown = " and ".join(f"{key} '{pattern}'" for key, pattern in idle.items())
    ctx.warn(
        f"The bundle's photos were split by {shown}, which not every new class has photos for: "
        "the same shares of these are drawn."
    )
    return SplitConfig.model_validate(config.model_dump() | dict.fromkeys(idle, "") | _shares(old))


def _twins(seen: Scan, elsewhere: bool, config: SplitConfig, ctx: Context) -> list[tuple[str, ...]]:
    """Clusters of photos that show the same picture, by sha256; those of known classes count, wherever they lie."""
    if not config.near_duplicates:
        return []
    scans = [seen]
    if elsewhere and ctx.data is not None and ctx.data.exists():
        scans.append(scan(ctx.data, ctx.progress, ctx.cache, strict=False))
    elif elsewhere:
        ctx.warn("The bundle's own photos are not there: new ones that show the same pictures cannot be told.")
    photos = [photo for found in scans for photo in found.photos]
    twins = near_duplicates(photos, np.concatenate([found.looks for found in scans]), ctx.progress)
    return [tuple(photos[member].sha256 for member in cluster) for cluster in twins.clusters]


def _shared_out(
    found: Scan, old: Splits, twins: Sequence[Sequence[str]], config: SplitConfig, ctx: Context
) -> list[Row]:
    """The rows of the new photos, which `found` holds alone."""
    there = [Photo(path, label, sha256, 0, split, group) for path, sha256, label, group, split in old.rows()]
    settled: dict[str, str] = {}
    for unit in units_of([*there, *found.photos], twins):
        sides = {photo.split for photo in unit.photos if photo.label not in found.classes}
        side = next((one for one in GUARDED if one in sides), None)
        if side is not None:
            settled |= {photo.path: side for photo in unit.photos if photo.label in found.classes}
    free = tuple(photo for photo in found.photos if photo.path not in settled)
    rows: list[Row] = []
    if free:
        rows += assign_splits(replace(found, photos=free), _matching(config, free, old, ctx), ctx, twins).rows()
    rows += [
        (photo.path, photo.sha256, photo.label, photo.group, settled[photo.path])
        for photo in found.photos
        if photo.path in settled
    ]
    if settled:
        ctx.warn(
            f"{len(settled)} new photos show what photos of the bundle show, or are of their group: they take its side."
        )
    taught = Counter(row[2] for row in rows if row[4] == "train")
    untaught = [name for name in found.classes if not taught[name]]
    if untaught:
        raise DataError(f"The new class '{untaught[0]}' has no photo to train on.", "Give it more photos.")
    return rows
