"""What the audit's page shows, check by check: which issues, with which pictures beside each other, and what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from featherlite.data.audit import Audit
from featherlite.data.findings import Action, Issue
from featherlite.data.source import Photo
from featherlite.report.audit_facts import CheckFacts, Facts, check_facts, doubts_label, is_absolute
from featherlite.report.audit_photos import AuditPhotos
from featherlite.report.templating import visible

__all__ = ["Card", "Picture", "Section", "sections", "wanted_paths"]

MOST_CARDS = {"alone": 36, "beside": 30, "relabel": 30, "listed": 60}
"""Issues of a check that are shown, by how they are shown."""

MOST_BLOCKING = 60
MOST_PICTURES = 6
ADVICE: dict[Action, str] = {
    "drop": "Suggested: leave out the photos marked drop. Nothing is deleted, and each decision can be taken back.",
    "relabel": "Suggested: give the photo the other label, once you have looked at it beside photos of both.",
    "merge": "Suggested: make one class of the two.",
    "keep-together": "Nothing to do: featherlite split keeps these on one side, so that none leaks into the test.",
    "look": "Only you can decide: look, and leave out what a model should not learn from.",
}
INSTEAD: dict[tuple[str, Action], str] = {
    (
        "listed",
        "look",
    ): "Nothing can be suggested: mend the files or the folders themselves, where it matters, and audit again.",
    ("relabel", "look"): "Only you can decide: give the other label, leave the photo out, or keep it as it is.",
}
"""What is advised in place of that, by how issues are shown."""


@dataclass(frozen=True)
class Picture:
    """One photo on a card: `mark` is what is suggested for it, drop or keep.

    `target` is its path where one can decide on it, `to` the label that it may get.
    """

    path: str
    label: str = ""
    split: str = ""
    size: str = ""
    image: str | None = None
    mark: str = ""
    target: str = ""
    to: str = ""


@dataclass(frozen=True)
class Card:
    """One issue: what was found, how sure, and its pictures; `examples` are other photos of a label to compare with."""

    message: str
    score: float
    suggestion: str
    pictures: tuple[Picture, ...]
    more: int = 0
    examples: tuple[tuple[str, tuple[Picture, ...]], ...] = ()


@dataclass(frozen=True)
class Section:
    """One check's part of the page. `kind`: alone (small cards), beside, relabel, or listed (there are no pictures).

    `certain`: all scores are 1. `common`: what is said of every card alike, so that it need not stand on each.
    """

    facts: CheckFacts
    kind: str
    advice: tuple[str, ...]
    count: int
    photos: int
    cards: tuple[Card, ...]
    certain: bool
    common: str
    more: int = 0

    @property
    def noun(self) -> str:
        """What the issues are about: files that cannot be used are no photos."""
        return "file" if self.kind == "listed" else "photo"


def shown_issues(result: Audit, facts: Facts) -> list[tuple[CheckFacts, str, list[Issue], list[Issue]]]:
    """Each check that found something: its facts, how it is shown, all its issues, and those that are shown.

    First those that stop a run, then those that suggest something, then those that a person must look at.
    """
    by_check: dict[str, list[Issue]] = defaultdict(list)
    for issue in result.issues:
        by_check[issue.check].append(issue)
    found = []
    for name, issues in by_check.items():
        check, kind = check_facts(name), _kind(issues, facts)
        most = max(MOST_CARDS[kind], MOST_BLOCKING if check.blocks else 0)
        found.append((check, kind, issues, sorted(issues, key=lambda issue: -issue.score)[:most]))
    return sorted(found, key=lambda entry: (not entry[0].blocks, _urgency(entry[2]), entry[0].name))


def wanted_paths(result: Audit, facts: Facts) -> list[str]:
    """The photos whose thumbnails the page wants, the most telling first: every check's worst issue before its next."""
    each = [
        [_issue_paths(issue, facts) for issue in shown]
        for _, kind, _, shown in shown_issues(result, facts)
        if kind != "classes"
    ]
    turns = max((len(issues) for issues in each), default=0)
    return [path for turn in range(turns) for issues in each if turn < len(issues) for path in issues[turn]]


def sections(result: Audit, facts: Facts, photos: AuditPhotos) -> list[Section]:
    """The parts of the page, one a check that found something."""
    made = []
    for check, kind, issues, shown in shown_issues(result, facts):
        cards = tuple(_card(issue, facts, photos) for issue in shown)
        alike = len(cards) > 2 and len({(card.message, card.score) for card in cards}) == 1
        made.append(
            Section(
                check,
                kind,
                _advice(kind, {issue.action for issue in issues}),
                len(issues),
                len({path for issue in issues for path in issue.paths}),
                cards,
                all(issue.score == 1.0 for issue in issues),
                f"{cards[0].message} (score {cards[0].score:.2f})" if alike else "",
                len(issues) - len(shown),
            )
        )
    return made


def _advice(kind: str, actions: Container[Action]) -> tuple[str, ...]:
    return tuple(INSTEAD.get((kind, action), told) for action, told in ADVICE.items() if action in actions)


def _kind(issues: Sequence[Issue], facts: Facts) -> str:
    if facts.at_hand and not any(path in facts.photos for issue in issues for path in issue.paths):
        return "listed"
    if all(not issue.paths for issue in issues):
        return "listed"
    if any(doubts_label(issue) for issue in issues):
        return "relabel"
    return "alone" if all(len(issue.paths) <= 1 for issue in issues) else "beside"


def _urgency(issues: Iterable[Issue]) -> int:
    order = ("relabel", "drop", "merge", "look", "keep-together")
    return min(-1 if doubts_label(issue) else order.index(issue.action) for issue in issues)


def _issue_paths(issue: Issue, facts: Facts) -> list[str]:
    """The paths of an issue's pictures, those to compare with included."""
    own = list(issue.paths[:MOST_PICTURES])
    return own + [photo.path for _, some in _compared(issue, facts) for photo in some]


def _compared(issue: Issue, facts: Facts) -> list[tuple[str, Sequence[Photo]]]:
    """For a doubted label: typical photos of the suggested label, if any, and of the present one."""
    if issue.check not in facts.doubting or len(issue.paths) != 1:
        return []
    photo = facts.photos.get(issue.paths[0])
    labels = [issue.to, *([photo.label] if photo is not None else [])]
    return [(label, facts.typical.get(label, ())) for label in dict.fromkeys(labels) if label]


def _card(issue: Issue, facts: Facts, photos: AuditPhotos) -> Card:
    targets = set(issue.targets)
    pictures = tuple(_picture(path, issue, path in targets, facts, photos) for path in issue.paths[:MOST_PICTURES])
    examples = tuple(
        (
            visible(label),
            tuple(
                Picture(facts.place(photo.path), visible(photo.label), image=image)
                for photo in some
                if (image := photos.of(photo.path)) is not None
            ),
        )
        for label, some in _compared(issue, facts)
    )
    return Card(
        facts.text(issue.message),
        issue.score,
        facts.text(_suggestion(issue)),
        pictures,
        max(0, len(issue.paths) - MOST_PICTURES),
        tuple(entry for entry in examples if entry[1]),
    )


def _suggestion(issue: Issue) -> str:
    """What is suggested, in few words: which photos are meant is marked on them."""
    some, all_of_them = len(issue.targets), len(issue.paths)
    match issue.action:
        case "drop":
            if all_of_them < 2:
                return "leave it out"
            return (
                f"drop {some} of {all_of_them}"
                if some < all_of_them
                else f"drop {'both' if some == 2 else f'all {some}'}"
            )
        case "relabel":
            return f"relabel as {issue.to}"
        case "merge":
            return f"merge into {issue.to}"
        case "look" | "keep-together":
            return ""


def _picture(path: str, issue: Issue, is_target: bool, facts: Facts, photos: AuditPhotos) -> Picture:
    photo = facts.photos.get(path)
    mark = ""
    if issue.action == "drop" and len(issue.paths) > 1:
        mark = "drop" if is_target else "keep"
    return Picture(
        facts.place(path),
        visible(photo.label) if photo else "",
        (photo.split or "") if photo else "",
        facts.sizes.get(path, ""),
        photos.of(path),
        mark,
        "" if is_absolute(path) or photo is None else path,
        issue.to if doubts_label(issue) else "",
    )
