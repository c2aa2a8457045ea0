"""Shares the photos out to train, val, calibration and test, stratified by class, with no photo on two sides."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from featherlite.bundle import Bundle, Label
from featherlite.data.assign import Unit, cut, folds, keep_at_most, settle, units_of
from featherlite.data.audit_tables import read_twins
from featherlite.data.decisions import apply_decisions, bundle_decisions
from featherlite.data.listing import refuse_alike
from featherlite.data.near import near_duplicates
from featherlite.data.sample import is_drawn
from featherlite.data.source import Photo, Scan, refuse_too_few, scan
from featherlite.data.splits import SPLITS, Splits, write_splits
from featherlite.errors import DataError, did_you_mean
from featherlite.step import MAX_SEED, Context, StepConfig, step

__all__ = ["SplitConfig", "assign_splits", "group_of", "split"]

SHOWN = 50
"""How many examples of a fault or a group of duplicates the report names; faults.json lists every fault."""


class SplitConfig(StepConfig):
    """Splits that folders or the CSV give stand; those that they do not are cut from the photos that are left free.

    Shares are of those free photos: all of them where nothing was given, else those given to no split, else those
    given to train.
    """

    val: float = Field(0.15, ge=0, lt=1)
    """share of photos for validation: early stopping and the choice between models"""
    calibration: float = Field(0.0, ge=0, lt=1)
    """share of photos for calibrating confidences"""
    test: float = Field(0.15, ge=0, lt=1)
    """share of photos for the final test, which is read once"""
    test_files: str = ""
    """photos whose path matches make up the test split, such as '*/4.jpg'; replaces `test`"""
    val_files: str = ""
    """photos whose path matches make up the validation split; replaces `val`"""
    include: tuple[str, ...] = ()
    """classes to use; none named means all"""
    max_per_class: int | None = Field(None, ge=1)
    """at most this many photos of each class, drawn by the seed"""
    near_duplicates: bool = True
    """keep photos that show the same picture (saved again, resized, cropped, mirrored ...) on one side"""
    group_folder: int | None = Field(None, ge=1)
    """keep photos that share this many folders of their path on one side: 2 for class/video/photo.jpg"""
    group_pattern: str = ""
    """regular expression: photos for which its groups (or, without groups, all of it) match the same text in their path
    stay on one side, such as '(cam[0-9]+)_(2026-[0-9-]+)'"""
    folds: int | None = Field(None, ge=2, le=100)
    """cut the photos into so many folds; `fold` is the test split then, in the place of `test`"""
    fold: int = Field(0, ge=0)
    """number of the fold to test on, from 0"""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """seed of the draw; none means the run's"""

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> Self:
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold}: with {self.folds} folds the last one is {self.folds - 1}")
        if self.folds is not None and self.test_files:
            raise ValueError("folds and test_files both say what is tested: give one of them")
        asked = 1 / self.folds if self.folds is not None else 0 if self.test_files else self.test
        total = (0 if self.val_files else self.val) + self.calibration + asked
        if total >= 1:
            raise ValueError(f"val, calibration and test add up to {total:g}: less than 1 is needed, the rest trains")
        return self


@step(provides=("splits", "labels"))
def split(bundle: Bundle, config: SplitConfig, ctx: Context) -> Bundle:
    """The bundle with splits.parquet, labels.json and, where files are not used, faults.json.

    Raises:
        DataError: the photos cannot be used, a pattern or class name matches nothing, or a class has none to train on.
    """
    found = scan(ctx.photos_root(), ctx.progress, ctx.cache, strict=False)  # decisions may mend what is not yet right
    twins = _twins(bundle, found, config, ctx)
    decided, idle = apply_decisions(found.photos, bundle_decisions(bundle))
    if idle:
        shown = ", ".join(f"'{decision.target}'" for decision in idle[:5])
        ctx.warn(f"{len(idle)} decisions are about photos or classes that are not there: {shown}{_rest(idle)}.")
    left = replace(found, photos=decided)
    if len(left.classes) < 2 <= len(found.classes):
        raise DataError(
            f"The decisions leave {len(left.classes)} of {len(found.classes)} classes, and a classifier needs two.",
            "Look at what clean was told to drop, relabel or merge.",
        )
    refuse_too_few(found.root, set(left.classes), found.faults)
    refuse_alike(left.classes)
    splits = assign_splits(left, config, ctx, twins)
    classes = sorted(set(splits.label))
    _record(found, splits, classes, ctx)
    result = bundle.with_files({"splits.parquet": write_splits(splits)})
    if found.faults:
        faults = [{"path": fault.path, "reason": fault.reason, "message": fault.message} for fault in found.faults]
        result = result.with_json("faults.json", faults)
    return result.with_labels(tuple(Label(name=name) for name in classes))


def _twins(bundle: Bundle, found: Scan, config: SplitConfig, ctx: Context) -> list[tuple[str, ...]]:
    """The clusters of photos that show the same picture, by their sha256: those of the audit, or looked for now."""
    if not config.near_duplicates:
        return []
    twins = read_twins(bundle, found)
    if twins is None:
        twins = near_duplicates(found.photos, found.looks, ctx.progress)
    return [tuple(found.photos[member].sha256 for member in cluster) for cluster in twins.clusters]


def assign_splits(found: Scan, config: SplitConfig, ctx: Context, twins: Sequence[Sequence[str]] = ()) -> Splits:
    """The table of splits for the photos of a scan. Doubtful cases are told through `ctx.warn`.

    `twins` are clusters of photos that show the same picture, by their sha256.

    Raises:
        DataError: a pattern or class name matches nothing, or a class has no photo to train on.
    """
    seed = ctx.seed if config.seed is None else config.seed
    included = [replace(photo, group=group_of(photo, config)) for photo in _included(found, config.include)]
    units = units_of(included, twins)
    _tell_duplicates(units, ctx)
    if config.max_per_class is not None:
        units = keep_at_most(units, config.max_per_class, seed)
    photos = [photo for unit in units for photo in unit.photos]
    given = {photo.path: photo.split for photo in photos if photo.split is not None}
    named = _named(photos, config)
    settled, torn = settle(units, given | named)
    if torn:
        ctx.warn(
            f"{len(torn)} photos or groups were given to two splits and went to one of them, test before val before"
            f" train: {_examples(torn)}."
        )
    fixed = set(given.values()) | set(named.values())
    if config.folds is not None and "test" not in fixed:
        its_fold = folds([unit for unit in units if unit.key not in settled], config.folds, seed)
        settled |= {key: "test" for key, number in its_fold.items() if number == config.fold}
        fixed.add("test")
    asked = {"test": config.test, "val": config.val, "calibration": config.calibration}
    fractions = {name: 0.0 if name in fixed else fraction for name, fraction in asked.items()}
    free = [unit for unit in units if unit.key not in settled]
    if not free:  # a split that is missing is cut from the photos given to train
        free = [unit for unit in units if settled[unit.key] == "train"]
    free_keys = {unit.key for unit in free}
    taught = {unit.label for unit in units if settled.get(unit.key) == "train" and unit.key not in free_keys}
    chosen = settled | cut(free, fractions, seed, frozenset(taught))
    _refuse_untrained(units, chosen, ctx)
    return Splits.from_rows(
        (photo.path, photo.sha256, photo.label, photo.group, chosen[unit.key])
        for unit in units
        for photo in unit.photos
    )


def _included(found: Scan, include: Sequence[str]) -> list[Photo]:
    for name in include:
        if name not in found.classes:
            raise DataError(f"include: there is no class '{name}'.", did_you_mean(name, found.classes))
    if len(set(include)) == 1:
        raise DataError(f"include names only one class ('{include[0]}').", "A classifier needs two or more.")
    return [photo for photo in found.photos if not include or photo.label in include]


def group_of(photo: Photo, config: SplitConfig) -> str | None:
    """What the photo must stay together with: the group that the table gives, else that of its folder or its path."""
    if photo.group is not None:
        return photo.group
    if config.group_pattern:
        match = re.search(config.group_pattern, photo.path)
        return None if match is None else "/".join(part or "" for part in match.groups()) or match.group()
    folders = PurePosixPath(photo.path).parts[:-1]
    if config.group_folder is not None and len(folders) >= config.group_folder:
        return "/".join(folders[: config.group_folder])
    return None


def _named(photos: Sequence[Photo], config: SplitConfig) -> dict[str, str]:
    """Path -> split of the photos that `test_files` and `val_files` match."""
    named: dict[str, str] = {}
    for option, pattern, name in (("test_files", config.test_files, "test"), ("val_files", config.val_files, "val")):
        matched = [photo.path for photo in photos if pattern and fnmatchcase(photo.path, pattern)]
        if pattern and not matched:
            raise DataError(
                f"{option}: no photo's path matches '{pattern}'.",
                f"Paths look like '{photos[0].path}'; * stands for any characters, / too.",
            )
        twice = [path for path in matched if path in named]
        if twice:
            raise DataError(f"test_files and val_files both match '{twice[0]}'.", "A photo can be in one split only.")
        named |= dict.fromkeys(matched, name)
    return named


def _refuse_untrained(units: Sequence[Unit], chosen: Mapping[str, str], ctx: Context) -> None:
    where: dict[str, Counter[str]] = defaultdict(Counter)
    for unit in units:
        for photo in unit.photos:
            where[photo.label][chosen[unit.key]] += 1
    untrained = sorted(label for label, counts in where.items() if not counts["train"])
    if untrained:
        label = untrained[0]
        more = f" (and {len(untrained) - 1} more classes)" if len(untrained) > 1 else ""
        raise DataError(
            f"Class '{label}'{more} has no photo to train on: all are in {' and '.join(sorted(where[label]))}.",
            "Give it photos of its own for training, or leave it out with include.",
        )
    single = sorted(label for label, counts in where.items() if counts.total() == 1)
    if single:
        ctx.warn(f"{len(single)} classes have one photo only, which trains; nothing tests them: {_listed(single)}.")


# ---- what is told ------------------------------------------------------------------------------------------------


def _tell_duplicates(units: Sequence[Unit], ctx: Context) -> None:
    together = [unit for unit in units if len(unit.photos) > 1]
    if not together:
        return
    copies: dict[str, list[Photo]] = defaultdict(list)
    for unit in together:
        for photo in unit.photos:
            copies[photo.sha256].append(photo)
    equal = [same for same in copies.values() if len(same) > 1]
    torn = [same for same in equal if len({photo.label for photo in same}) > 1]
    ctx.record(
        "kept_together",
        {
            "units": len(together),
            "photos": sum(len(unit.photos) for unit in together),
            "byte_identical": len(equal),
            "examples": [[photo.path for photo in unit.photos] for unit in together[:SHOWN]],
        },
    )
    if torn:
        shown = "; ".join(" = ".join(photo.path for photo in same) for same in torn[:5])
        ctx.warn(f"{len(torn)} photos stand under two labels, byte for byte: {shown}{_rest(torn)}.")


def _record(found: Scan, splits: Splits, classes: Sequence[str], ctx: Context) -> None:
    pairs = Counter(zip(splits.label, splits.split, strict=True))
    ctx.record("layout", found.layout)
    if is_drawn(found.root):
        ctx.record("synthetic", True)
    ctx.record("photos", splits.counts())
    ctx.record("classes", {name: {part: pairs[name, part] for part in SPLITS if pairs[name, part]} for name in classes})
    ctx.record("splits_hash", splits.hash)
    if found.faults:
        examples: list[dict[str, Any]] = [
            {"path": fault.path, "reason": fault.reason, "message": fault.message} for fault in found.faults[:SHOWN]
        ]
        reasons = found.faults_by_reason()
        ctx.record("faults", {"total": len(found.faults), "by_reason": reasons, "examples": examples})
        told = Counter(fault.reason for fault in found.faults if not _is_document(fault.path))
        if told:
            counts = ", ".join(f"{count} {reason}" for reason, count in told.most_common())
            ctx.warn(f"{told.total()} files or folders are not used: {counts}. faults.json in the bundle lists them.")


def _is_document(path: str) -> bool:
    """Whether the path is that of a text or table: listed where it is not used, but no cause for alarm."""
    return PurePosixPath(path).suffix.casefold() in (".csv", ".html", ".json", ".md", ".pdf", ".txt", ".tsv", ".xml")


def _examples(units: Sequence[Unit]) -> str:
    return "; ".join(" + ".join(photo.path for photo in unit.photos[:3]) for unit in units[:5]) + _rest(units)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + _rest(names)


def _rest(items: Sequence[Any]) -> str:
    return f" and {len(items) - 5} more" if len(items) > 5 else ""
