"""What a tool's findings are worth against a list of planted faults: recall by kind, false alarms by check, ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from plant import CONFLICTS, LEAKS, SAME, UNREADABLE, Planted

__all__ = ["ACCEPTED", "PAIRS", "Finding", "Known", "false_alarms", "first_rank", "found", "found_among_first"]

PAIRS = frozenset({*SAME, *CONFLICTS, *LEAKS})
"""Kinds that are found only together with the photo that they repeat."""

_NEAR = frozenset({"near-duplicate", "exact-duplicate"})
_PEER_NEAR = frozenset({"near_duplicates", "exact_duplicates"})

ACCEPTED: Mapping[str, Mapping[str, Collection[str]]] = {
    "featherlite": {
        **dict.fromkeys(SAME, _NEAR),
        **dict.fromkeys(CONFLICTS, frozenset({"label-conflict"})),
        **dict.fromkeys(LEAKS, frozenset({"leakage"})),
        **dict.fromkeys(UNREADABLE, frozenset({"unreadable"})),
        "blurred": {"blurred"},
        "motion": {"blurred"},
        "dark": {"dark"},
        "over-exposed": {"overexposed"},
        "washed-out": {"overexposed", "low-information"},
        "low-information": {"low-information"},
        "grayscale": {"grayscale"},
        "odd-size": {"odd-size"},
        "odd-aspect": {"odd-aspect"},
        "tiny": {"tiny", "odd-size"},
        "rotated": {"exif-rotation"},
        "wrong-label": {"wrong-label"},
        "off-topic": {"off-topic"},
    },
    # cleanvision knows neither labels nor splits: that it sees a repeated photo is taken for the finding.
    "cleanvision": {
        **dict.fromkeys((*SAME, *CONFLICTS, *LEAKS), _PEER_NEAR),
        "blurred": {"blurry"},
        "motion": {"blurry"},
        "dark": {"dark"},
        "over-exposed": {"light"},
        "washed-out": {"light", "low_information"},
        "low-information": {"low_information"},
        "grayscale": {"grayscale"},
        "odd-size": {"odd_size"},
        "odd-aspect": {"odd_aspect_ratio"},
        "tiny": {"odd_size"},
    },
}
"""Tool -> kind of fault -> the checks that may find it. A kind that is absent is none of the tool's business."""


@dataclass(frozen=True)
class Finding:
    """What one tool says of some photos: check, paths, and how sure it is in [0, 1]."""

    check: str
    paths: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class Known:
    """A fault that the photos had before any was planted: the photo, its kind, and the photo that it repeats."""

    path: str
    kind: str
    same_as: str = ""


def found(
    planted: Sequence[Planted], findings: Iterable[Finding], kind: str, accepted: Collection[str]
) -> list[Planted]:
    """The planted faults of that kind which the accepted checks found; of a pair, both must stand in one finding."""
    by_path: dict[str, list[frozenset[str]]] = defaultdict(list)
    for finding in findings:
        if finding.check in accepted:
            together = frozenset(finding.paths)
            for path in finding.paths:
                by_path[path].append(together)
    return [
        fault
        for fault in planted
        if fault.kind == kind and any(fault.of in its or kind not in PAIRS for its in by_path[fault.path])
    ]


def false_alarms(
    native: Collection[str],
    planted: Sequence[Planted],
    known: Iterable[Known],
    findings: Iterable[Finding],
    accepted: Mapping[str, Collection[str]],
) -> dict[str, list[str]]:
    """Check -> native photos that it flags for nothing. `native` are the photos in which nothing was planted.

    A photo in a finding of several is flagged for nothing as soon as one of them is not the same picture, be it planted
    or known from before. A known fault of a photo alone excuses the checks that may find its kind (`accepted`).
    """
    origin = {fault.path: fault.of for fault in planted if fault.kind in PAIRS}
    excused = set()
    for fault in known:
        if fault.same_as:
            origin[fault.path] = fault.same_as
        else:
            excused.update((check, fault.path) for check in accepted.get(fault.kind, ()))

    def root(path: str) -> str:
        while path in origin:
            path = origin[path]
        return path

    alarms: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        sound = len(finding.paths) > 1 and len({root(path) for path in finding.paths}) == 1
        flagged = (path for path in finding.paths if path in native and (finding.check, path) not in excused)
        alarms[finding.check].update(() if sound else flagged)
    return {check: sorted(alarms[check]) for check in sorted(alarms)}


def found_among_first(
    planted: Sequence[Planted], findings: Iterable[Finding], check: str, kind: str, times: int = 2
) -> tuple[int, int]:
    """How many planted faults stand among the first `times` as many suggestions of a check, and how many there are."""
    wanted = {fault.path for fault in planted if fault.kind == kind}
    first = _ranked(findings, check)[: times * len(wanted)]
    return len(wanted.intersection(first)), len(wanted)


def first_rank(findings: Iterable[Finding], check: str, path: str) -> tuple[int | None, int]:
    """The rank of a photo among the suggestions of a check, 1 being the first, and how many photos it suggests."""
    ranked = _ranked(findings, check)
    return (ranked.index(path) + 1 if path in ranked else None), len(ranked)


def _ranked(findings: Iterable[Finding], check: str) -> list[str]:
    """The photos that a check names, the surest first, each once."""
    its = sorted((finding for finding in findings if finding.check == check), key=lambda finding: -finding.score)
    return list(dict.fromkeys(path for finding in its for path in finding.paths))
