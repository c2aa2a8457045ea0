"""looks photos over for faults that cost accuracy or falsely claim it; writes them as a page and a table"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from featherlite.cli.arguments import CommandOptions, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import RequestError

if TYPE_CHECKING:
    from rich.table import Table

    from featherlite.data.audit import Audit

PAGE = "report.html"


class AuditOptions(CommandOptions):
    """What `featherlite audit` takes beside the step's own settings."""

    data: Annotated[Path | None, Positional()] = None
    """the photos, as for featherlite run"""
    out: Path | None = None
    """folder for report.html and issues.parquet (default: audit-<name of the photos> here; with --json none is written
    unless named)"""


def main(argv: Sequence[str], terminal: Terminal) -> int:
    """Looks, writes, shows; returns 1 where there is no photo that a model could learn from."""
    from featherlite.data.audit import AuditConfig, run_audit
    from featherlite.keys import cache_folder
    from featherlite.run import resolve

    made = parser("featherlite audit", "Look photos over for faults; none is touched. --list tells which.")
    add_fields(made, AuditOptions)
    add_fields(made, AuditConfig)
    made.add_argument("--list", action="store_true", help="list the checks, and do nothing else")
    values = vars(made.parse_args(argv))
    options = parse(AuditOptions, {key: values[key] for key in AuditOptions.model_fields}, "featherlite audit")
    config = parse(AuditConfig, {key: values[key] for key in AuditConfig.model_fields}, "featherlite audit")
    if values["list"]:
        return _list_checks(terminal)
    if options.data is None:
        raise RequestError("featherlite audit: the photos are missing.", "Name them: featherlite audit PHOTOS")
    data = resolve(options.data, cache_folder(), terminal.progress())
    out = _out(data, options.out, terminal.as_json)
    result = run_audit(data, config, cache_folder(), terminal.progress())
    page = _write(result, data, out, terminal) if out is not None else None
    terminal.close()
    _show(result, data, page, terminal)
    terminal.finish(_document(result, page))
    return 0 if result.scan.photos else 1


def _list_checks(terminal: Terminal) -> int:
    """Shows every check there is."""
    from rich.table import Table

    from featherlite.data.checks import check_names, load_check

    table = Table("check", "stops a run", "what it looks for", box=None, header_style="bold", pad_edge=False)
    checks = [load_check(name) for name in check_names()]
    for check in checks:
        table.add_row(check.name, "yes" if check.blocks else "", check.summary)
    terminal.show(table)
    terminal.finish({"checks": [{"check": one.name, "summary": one.summary, "blocks": one.blocks} for one in checks]})
    return 0


def _out(data: Path, named: Path | None, as_json: bool) -> Path | None:
    """The folder to write to, or None where nothing is to be written.

    Raises:
        RequestError: it lies within the photos, or holds the page of something else.
    """
    if named is None and as_json:
        return None
    out = named or Path(f"audit-{data.resolve().stem if data.is_file() else data.resolve().name}")
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise RequestError(
            f"{out} lies within the photos ({data}).", "Give an --out elsewhere, so that it is not taken for photos."
        )
    if (out / PAGE).exists() and not (out / "issues.parquet").exists():
        raise RequestError(
            f"{out / PAGE} is the page of something else, such as a run.", "Give another folder as --out."
        )
    return out


def _write(result: Audit, data: Path, out: Path, terminal: Terminal) -> Path:
    """The path of the page; the table goes first, so that where a page is, a table is."""
    from featherlite.bundle import storage_guard, write_atomically
    from featherlite.data.audit_tables import ISSUES, issues_table
    from featherlite.report.audit_page import write_audit_page

    with storage_guard(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / ISSUES, issues_table(result.issues))
    return write_audit_page(result, data, out / PAGE, progress=terminal.progress())


def _show(result: Audit, data: Path, page: Path | None, terminal: Terminal) -> None:
    from featherlite.report.audit_page import audit_commands, refusal
    from featherlite.report.templating import named, visible

    scan = result.scan
    if result.issues:
        terminal.show(_table(result), "")
    silent = [name for name, count in result.counts().items() if not count]
    if silent and scan.photos:
        terminal.show(f"Nothing found by: {', '.join(silent)}.")
    if result.unmade:
        terminal.show(f"Not made, for want of features: {', '.join(result.unmade)}. Nothing is known of that.")
    if result.features and scan.photos:
        terminal.show(f"Contents were judged by {result.features}.")
    unused = [f"{count:,} {reason}" for reason, count in scan.faults_by_reason().items()]
    terminal.show(
        f"Photos: {len(scan.photos):,} of {len(scan.classes):,} classes. Issues: {len(result.issues):,}."
        + (f" Files not used: {', '.join(unused)}." if unused else "")
    )
    if not scan.photos:
        for fault in scan.faults[:10]:
            terminal.show(f"  {visible(fault.path)}: {visible(fault.message)}")
        terminal.show(f"No photo here can be used{': see the page' if page else ''}.")
    refused = refusal(result)
    if refused is not None:
        terminal.show(f"No run takes these photos as they are. {visible(refused[0])} {visible(refused[1])}")
    blocking = list(dict.fromkeys(issue.check for issue in result.blocking()))
    if blocking:
        terminal.show(f"What {named(blocking, 6)} found stops a run until it is decided on.")
    if page is not None:
        terminal.show("", f"Page: {page}   Table: {page.parent / 'issues.parquet'}")
        if scan.photos:
            terminal.show(
                *(f"{what}: {command}" for what, command in audit_commands(result, str(data), str(page.parent)))
            )


def _table(result: Audit) -> Table:
    """A row for each check that found something: how often, its worst example, and what is suggested."""
    from rich.table import Table
    from rich.text import Text

    from featherlite.report.templating import visible

    table = Table("check", "issues", "worst", "score", "suggestion", box=None, header_style="bold", pad_edge=False)
    blocking = {issue.check for issue in result.blocking()}
    worst = {issue.check: issue for issue in reversed(result.issues)}
    for name, count in sorted(result.counts().items(), key=lambda item: (item[0] not in blocking, -item[1], item[0])):
        if count:
            issue = worst[name]
            example = visible(issue.paths[0] if issue.paths else issue.message)
            table.add_row(
                Text(name, style="bold red" if name in blocking else ""),
                Text(f"{count:,}", justify="right"),
                Text(example),
                f"{issue.score:.2f}",
                Text(visible(issue.suggestion)),
            )
    return table


def _document(result: Audit, page: Path | None) -> dict[str, object]:
    return {
        "photos": len(result.scan.photos),
        "classes": len(result.scan.classes),
        "checks": result.counts(),
        "blocking": len(result.blocking()),
        "features": result.features,
        "unmade": list(result.unmade),
        "issues": [issue.to_json() for issue in result.issues],
        "faults": [
            {"path": fault.path, "reason": fault.reason, "message": fault.message} for fault in result.scan.faults
        ],
        "report": str(page) if page is not None else None,
    }
