"""carries out chosen suggestions of the audit: writes a list of photos; touches none"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from featherlite.cli.arguments import CommandOptions, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from featherlite.data.decisions import Decision
    from featherlite.data.findings import Issue


class CleanOptions(CommandOptions):
    """What `featherlite clean` takes beside the step's own settings."""

    data: Annotated[Path, Positional()]
    """the photos, as for featherlite run"""
    out: Path | None = None
    """folder for photos.csv (what remains: give it as --data) and decisions.csv (what was decided, and why); left out,
    only the suggestions are shown"""
    audit: Path | None = None
    """folder of an audit whose suggestions are meant; left out, the photos are looked over now, by the checks to apply
    and those that stop a run (none named: by all that need no network)"""


def main(argv: list[str], terminal: Terminal) -> int:
    """Decides and writes; returns 1 where issues remain that would stop a run."""
    from featherlite.data.clean import CleanConfig, decide, unsettled
    from featherlite.data.decisions import apply_decisions, write_decisions
    from featherlite.data.manifest import write_manifest
    from featherlite.data.source import refuse_too_few, scan
    from featherlite.keys import cache_folder
    from featherlite.run import resolve

    made = parser("featherlite clean", "Carry out chosen suggestions of the audit; no photo is touched or deleted.")
    add_fields(made, CleanOptions)
    add_fields(made, CleanConfig)
    values = vars(made.parse_args(argv))
    options = parse(CleanOptions, {key: values[key] for key in CleanOptions.model_fields}, "featherlite clean")
    config = parse(CleanConfig, {key: values[key] for key in CleanConfig.model_fields}, "featherlite clean")
    data = resolve(options.data, cache_folder(), terminal.progress())
    found = scan(data, terminal.progress(), cache_folder(), strict=False)  # names too alike are merged here
    issues = _issues(data, options.audit, config.apply, terminal)
    decisions = decide(issues, config)
    photos, idle = apply_decisions(found.photos, decisions)
    refuse_too_few(data, {photo.label for photo in photos}, found.faults)
    left = [issue for issue in unsettled(issues, decisions) if issue.check not in config.accept]
    terminal.close()
    terminal.show(_table(issues, decisions))
    if idle:
        terminal.show(
            f"{len(idle)} decisions are about photos or classes that are not there, such as {idle[0].target}."
        )
    for name in sorted(set(config.apply) & {issue.check for issue in issues} - {one.check for one in decisions}):
        terminal.show(f"{name} suggests nothing that could be carried out: decide by --overrides, or leave it.")
    terminal.show(f"{len(photos):,} of {len(found.photos):,} photos remain.")
    if left:
        terminal.show(f"{len(left)} issues would still stop a run: {_spoken(left)}.")
    if options.out is not None:
        write_manifest(options.out, found.root, photos, write_decisions(decisions))
        terminal.show(f"Written to {options.out}. Go on with: featherlite run RECIPE --data {options.out}/photos.csv")
    elif not decisions:
        terminal.show("Nothing was decided: choose checks with --apply, or give a list with --overrides.")
    terminal.finish(
        {
            "photos": len(found.photos),
            "remaining": len(photos),
            "decisions": [
                {
                    "action": one.action,
                    "target": one.target,
                    "label": one.label,
                    "check": one.check,
                    "reason": one.reason,
                }
                for one in decisions
            ],
            "idle": [one.target for one in idle],
            "unsettled": [issue.to_json() for issue in left],
            "out": str(options.out) if options.out is not None else None,
        }
    )
    return 1 if left else 0


def _issues(data: Path, audit: Path | None, apply: Sequence[str], terminal: Terminal) -> tuple[Issue, ...]:
    """The issues of an audit that was made before, or of one made now by the checks that matter here.

    What stops a run is looked for now in any case: the photos may have changed since, or be others.
    """
    from featherlite.data.audit import AuditConfig, run_audit
    from featherlite.data.audit_tables import read_issues_file
    from featherlite.data.checks import check_names, load_check
    from featherlite.keys import cache_folder

    checks = [load_check(name) for name in check_names()]
    blocking = tuple(one.name for one in checks if one.blocks)
    if audit is not None:
        former = read_issues_file(audit / "issues.parquet" if audit.is_dir() else audit)
        wanted = blocking
    else:
        former = ()
        wanted = tuple(
            one.name for one in checks if one.blocks or one.name in apply or not (apply or one.needs_features)
        )
    now = run_audit(data, AuditConfig(checks=wanted), cache_folder(), terminal.progress()).issues
    return (*now, *(issue for issue in former if issue.check not in wanted))


def _table(issues: Sequence[Issue], decisions: Sequence[Decision]) -> Table:
    from rich.table import Table

    table = Table("check", "issues", "suggestion", "decided", box=None, pad_edge=False)
    decided = Counter(decision.check for decision in decisions)
    for name, count in Counter(issue.check for issue in issues).items():
        actions = Counter(issue.action for issue in issues if issue.check == name)
        table.add_row(name, f"{count:,}", ", ".join(actions), f"{decided[name]:,}" if decided[name] else "-")
    for name in decided.keys() - {issue.check for issue in issues}:
        table.add_row(name, "-", "-", f"{decided[name]:,}")
    return table


def _spoken(left: Sequence[Issue]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in Counter(issue.check for issue in left).items())
