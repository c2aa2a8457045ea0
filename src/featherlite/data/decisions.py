"""What is done about the photos: left out, relabelled, kept. A plain CSV, made by hand or by `featherlite clean`.

The photos themselves are never touched: decisions are applied to the list of photos whenever it is read, so taking a
line out of the CSV undoes it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from featherlite.bundle import Bundle
from featherlite.data.findings import Issue
from featherlite.data.listing import class_label
from featherlite.data.source import Photo
from featherlite.errors import DataError, did_you_mean

__all__ = [
    "BY_HAND",
    "FILE",
    "Decision",
    "Verb",
    "apply_decisions",
    "bundle_decisions",
    "overruled",
    "parse_decisions",
    "read_decisions",
    "suggested",
    "write_decisions",
]

FILE = "decisions.csv"
COLUMNS = ("action", "target", "label", "check", "reason")
BY_HAND = "by hand"
"""What stands in the column `check` of a decision that no check suggested."""

Verb = Literal["keep", "drop", "relabel", "merge"]
STRENGTH = ("relabel", "drop")
"""Where two checks want different things of one photo, the later one here wins."""

HINT = (
    "A list of decisions is a CSV with the columns action,target[,label][,check][,reason], where action is drop,"
    " relabel or keep with a photo's path as the target, or merge with a class."
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One line: what is done (`action`) to which photo, or class for a merge (`target`), and why.

    keep: whatever a check suggests, the photo stays as it is. drop: it is left out. relabel: its class becomes `label`.
    merge: all of the class become `label`.
    """

    action: Verb
    target: str
    label: str = ""
    check: str = BY_HAND
    reason: str = ""


def parse_decisions(text: str, where: str) -> tuple[Decision, ...]:
    """The decisions of a CSV, in its order; `where` names it in errors.

    Raises:
        DataError: no such columns, an unknown action, a missing target or label, or two decisions about one target.
    """
    text = text.removeprefix("\ufeff")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)  # some spreadsheets write semicolons
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = [name.strip().casefold() for name in next(reader, [])]
        lines = [(reader.line_num, values) for values in reader if any(value.strip() for value in values)]
    except csv.Error as error:
        raise DataError(f"{where} is not a CSV that can be read: {error}.", HINT) from None
    for needed in ("action", "target"):
        if needed not in columns:
            raise DataError(f"{where} has no column '{needed}'. {did_you_mean(needed, columns)}", HINT)
    decisions: dict[tuple[bool, str], Decision] = {}
    for number, values in lines:
        row = dict(zip(columns, values, strict=False))
        decision = _decision(row, f"{where}, line {number}")
        key = (decision.action == "merge", decision.target)
        if key in decisions and decisions[key] != decision:
            raise DataError(
                f"{where}, line {number}: '{decision.target}' has been decided on before.", "Keep one line."
            )
        decisions[key] = decision
    return tuple(decisions.values())


def read_decisions(file: Path) -> tuple[Decision, ...]:
    """The decisions in a file.

    Raises:
        DataError: it cannot be read, is not UTF-8, or holds faults.
    """
    try:
        return parse_decisions(file.read_text("utf-8"), str(file))
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text.", "Save it as CSV UTF-8.") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", HINT) from None


def bundle_decisions(bundle: Bundle) -> tuple[Decision, ...]:
    """The decisions that the bundle's photos stand under; none where nothing was cleaned."""
    return parse_decisions(bundle.read(FILE).decode("utf-8"), FILE) if FILE in bundle else ()


def write_decisions(decisions: Iterable[Decision]) -> bytes:
    """The decisions as CSV (UTF-8)."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(decision, column) for column in COLUMNS] for decision in decisions)
    return sink.getvalue().encode("utf-8")


def suggested(issues: Iterable[Issue], checks: Sequence[str]) -> tuple[Decision, ...]:
    """What the issues of these checks ask to be done, one decision a photo, sorted by target.

    The targets of a merge are all photos of a class, so each of them is relabelled.
    """
    chosen: dict[str, Decision] = {}
    for issue in issues:
        if issue.check not in checks or issue.action not in ("drop", "relabel", "merge"):
            continue
        verb: Verb = "drop" if issue.action == "drop" else "relabel"
        for target in issue.targets:
            former = chosen.get(target)
            if former is None or STRENGTH.index(verb) > STRENGTH.index(former.action):
                chosen[target] = Decision(verb, target, "" if verb == "drop" else issue.to, issue.check, issue.message)
    return tuple(chosen[target] for target in sorted(chosen))


def overruled(decisions: Iterable[Decision], by_hand: Iterable[Decision]) -> tuple[Decision, ...]:
    """The decisions, those made by hand in the place of others about the same target."""
    merged = {(decision.action == "merge", decision.target): decision for decision in decisions}
    merged |= {(decision.action == "merge", decision.target): decision for decision in by_hand}
    return tuple(merged[key] for key in sorted(merged))


def apply_decisions(photos: Sequence[Photo], decisions: Iterable[Decision]) -> tuple[tuple[Photo, ...], list[Decision]]:
    """The photos as decided, in their order, and the decisions whose target is not there.

    Classes are merged first; a relabelled photo gets just the label that its own line names.
    """
    about: Mapping[str, Decision] = {item.target: item for item in decisions if item.action != "merge"}
    merges: Mapping[str, Decision] = {item.target: item for item in decisions if item.action == "merge"}
    paths, classes = {photo.path for photo in photos}, {photo.label for photo in photos}
    idle = [item for path, item in about.items() if path not in paths]
    idle += [item for name, item in merges.items() if name not in classes]
    result = []
    for photo in photos:
        decision = about.get(photo.path)
        if decision is not None and decision.action == "drop":
            continue
        if decision is not None and decision.action == "relabel":
            result.append(replace(photo, label=decision.label))
        elif photo.label in merges:
            result.append(replace(photo, label=_merged(photo.label, merges)))
        else:
            result.append(photo)
    return tuple(result), idle


def _merged(label: str, merges: Mapping[str, Decision]) -> str:
    """What a class is called in the end, where a merged class is merged again; a circle ends where it began."""
    seen = {label}
    while label in merges and merges[label].label not in seen:
        label = merges[label].label
        seen.add(label)
    return label


def _decision(row: Mapping[str, str], where: str) -> Decision:
    # A path may begin or end with a space; nothing else here does on purpose.
    action, target, label = (
        row.get("action", "").strip().casefold(),
        row.get("target", ""),
        row.get("label", "").strip(),
    )
    if action not in get_args(Verb):
        raise DataError(f"{where}: '{action}' is no action. {did_you_mean(action, get_args(Verb))}", HINT)
    if not target.strip():
        raise DataError(f"{where}: the target is missing.", HINT)
    if action in ("relabel", "merge") and not label:
        raise DataError(f"{where}: the label that '{target}' should get is missing.", HINT)
    label = class_label(label, where) if action in ("relabel", "merge") else ""
    return Decision(action, target, label, row.get("check", "").strip() or BY_HAND, row.get("reason", "").strip())  # type: ignore[arg-type]
