"""Carries out chosen suggestions of the audit and a list of your own; refuses to go on past leakage and conflicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.data.audit import CheckNames
from featherlite.data.audit_tables import read_issues
from featherlite.data.checks import load_check
from featherlite.data.decisions import BY_HAND, FILE, Decision, overruled, read_decisions, suggested, write_decisions
from featherlite.data.findings import Issue
from featherlite.errors import DataError
from featherlite.step import Context, StepConfig, step

__all__ = ["CleanConfig", "clean", "decide", "unsettled"]


class CleanConfig(StepConfig):
    """What is done about the issues; no photo is ever touched or deleted."""

    apply: CheckNames = ()
    """checks whose suggestions (drop, relabel, merge) are carried out"""
    min_score: float = Field(0.0, ge=0, le=1)
    """suggestions with a lower score are not carried out"""
    overrides: Path | None = None
    """CSV of your own decisions (action,target,label,reason); they win over every suggestion"""
    accept: CheckNames = ()
    """checks that would stop the run: go on past what they found"""

    def files(self) -> tuple[Path, ...]:
        """The list of overrides, whose content counts."""
        return (self.overrides,) if self.overrides is not None else ()


@step(needs=("audit",), provides=("decisions",))
def clean(bundle: Bundle, config: CleanConfig, ctx: Context) -> Bundle:
    """The bundle with decisions.csv, which the split goes by.

    Raises:
        DataError: the overrides hold faults, or issues remain that must not be gone past unless told.
    """
    issues = read_issues(bundle)
    decisions = decide(issues, config)
    counts = Counter(f"{decision.action} ({decision.check})" for decision in decisions)
    ctx.record("decisions", dict(sorted(counts.items())))
    left = [issue for issue in unsettled(issues, decisions) if issue.check not in config.accept]
    if left:
        raise DataError(_refusal(left), _way_out(left))
    passed = Counter(issue.check for issue in unsettled(issues, decisions))
    for name, count in sorted(passed.items()):
        ctx.warn(f"{count} of {name} stand as they are, as told by accept.")
    return bundle.with_files({FILE: write_decisions(decisions)})


def decide(issues: Sequence[Issue], config: CleanConfig) -> tuple[Decision, ...]:
    """All decisions under the config, sorted by target.

    Raises:
        DataError: the overrides hold faults.
    """
    wanted = [issue for issue in issues if issue.score >= config.min_score]
    by_hand = read_decisions(config.overrides) if config.overrides is not None else ()
    return overruled(suggested(wanted, config.apply), by_hand)


def unsettled(issues: Sequence[Issue], decisions: Sequence[Decision]) -> list[Issue]:
    """The issues that stop a run and that nothing was decided about.

    One is settled where fewer than two of its photos remain, where something was done about each photo that its
    suggestion is about, or where a person has spoken on any of its photos.
    """
    about = {decision.target: decision for decision in decisions if decision.action != "merge"}
    return [issue for issue in issues if load_check(issue.check).blocks and not _settled(issue, about)]


def _settled(issue: Issue, about: dict[str, Decision]) -> bool:
    decided = [about[path] for path in issue.paths if path in about]
    remaining = len(issue.paths) - sum(decision.action == "drop" for decision in decided)
    acted = bool(issue.targets) and all(target in about for target in issue.targets)
    return remaining < min(2, len(issue.paths)) or acted or any(decision.check == BY_HAND for decision in decided)


def _refusal(left: Sequence[Issue]) -> str:
    lines = []
    for name, count in Counter(issue.check for issue in left).items():
        example = next(issue for issue in left if issue.check == name)
        shown = " and ".join(f"'{path}'" for path in example.paths[:2])
        lines.append(f"{count} of {name}, such as {shown}: {example.message}")
    return f"The audit found what accuracy must not be measured with: {'; '.join(lines)}."


def _way_out(left: Sequence[Issue]) -> str:
    names = ",".join(sorted({issue.check for issue in left}))
    return (
        f"Leave them out with --set clean.apply={names}, or decide on each in a CSV (--set clean.overrides=FILE),"
        f" or go on with --set clean.accept={names}."
    )
