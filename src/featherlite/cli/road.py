"""Walking a recipe in front of the user: what is going on, then the ladder and the pages."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlite.cli.terminal import Terminal
from featherlite.errors import FeatherliteError
from featherlite.history import StepReport
from featherlite.recipe import Recipe

if TYPE_CHECKING:
    from featherlite.bundle import Bundle
    from featherlite.reference import Reference
    from featherlite.step import Progress

__all__ = ["walk", "write_pages"]


def walk(recipe: Recipe, data: Path, out: Path, terminal: Terminal) -> dict[str, Any]:
    """Runs the recipe, shows its ladder, writes its pages; returns the JSON document."""
    from featherlite.keys import cache_folder
    from featherlite.report.beside import beside_document
    from featherlite.report.ladder import ladder_rows
    from featherlite.run import resolve, run_recipe

    place = {plan.id: number for number, plan in enumerate(recipe.steps, start=1)}

    finished: list[StepReport] = []

    def tell(id_: str, report: StepReport | None, cached: bool) -> None:
        label = f"[{place[id_]}/{len(place)}] {id_}"
        if report is None:
            terminal.show(label)
            return
        finished.append(report)
        terminal.show(
            f"  done before, reused{_outcome(report)}" if cached else f"  {report.seconds:.0f} s{_outcome(report)}"
        )

    photos = data
    try:
        photos = resolve(data, cache_folder(), terminal.progress())
        run = run_recipe(recipe, photos, out, progress=terminal.progress(), listener=tell)
    except FeatherliteError:
        terminal.close()
        if finished:
            _show_ladder(ladder_rows(finished, None), terminal, recipe.reference)
            with contextlib.suppress(FeatherliteError, OSError):  # the failure itself is what must be told
                page = _rewrite_pages(finished[-1], photos, out, data)
                if page is not None:
                    terminal.show(f"Page: {page}")
        raise
    terminal.close()
    verify = run.bundle.read_json("verify.json") if "verify.json" in run.bundle else None
    rows = ladder_rows(run.bundle.history, verify)
    page = write_pages(run.bundle, photos, out / "report.html", named=data)
    _show_ladder(rows, terminal, recipe.reference)
    terminal.show(f"Bundle: {out / 'bundle'}   Page: {page}")
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "rows": rows,
        "bundle": str(out / "bundle"),
        "report": str(page),
        "reused": run.reused,
    } | beside_document(rows, recipe.reference)


def write_pages(
    bundle: Bundle, photos: Path | None, page: Path, *, named: Path | None = None, progress: Progress | None = None
) -> Path:
    """The path of the run's page; the audit's page, which it links, is written beside it where there was an audit.

    `photos` is where the photos lie, `named` how the user calls that place.
    """
    from featherlite.data.audit_tables import ISSUES
    from featherlite.keys import cache_folder
    from featherlite.report.audit_page import bundle_audit, write_audit_page
    from featherlite.report.audited import AUDIT_PAGE
    from featherlite.report.next_steps import read_run_note, run_note
    from featherlite.report.page import write_page

    done = [report.id for report in bundle.history]
    note = read_run_note(bundle.home.parent, named or photos, done) if bundle.home is not None else None
    if ISSUES in bundle:
        write_audit_page(
            bundle_audit(bundle, photos, cache_folder(), progress),
            photos,
            page.parent / AUDIT_PAGE,
            note=note or run_note(named or photos),
            decided="decisions" in bundle.provides(),
            progress=progress,
        )
    return write_page(bundle, photos, page, note=note)


def _rewrite_pages(last: StepReport, photos: Path, out: Path, named: Path) -> Path | None:
    """Makes the pages speak of this failed run, where its steps are what the bundle now holds; the one to look at."""
    from featherlite.bundle import Bundle
    from featherlite.report.audited import AUDIT_PAGE

    bundle = Bundle.open(out / "bundle")
    if bundle.history[-1].key != last.key:
        return None
    page = write_pages(bundle, photos, out / "report.html", named=named)
    return out / AUDIT_PAGE if last.step == "audit" else page


def _show_ladder(rows: list[Any], terminal: Terminal, reference: Reference | None) -> None:
    """Shows the ladder, where it has a rung: before there is a network there is nothing to compare."""
    from featherlite.report.beside import beside_table
    from featherlite.report.ladder import ladder_table

    if any(row["bytes"] is not None for row in rows):
        terminal.show("", ladder_table(rows), "")
        if reference is not None:
            terminal.show(beside_table(rows, reference), "")
    else:
        terminal.show("")


def _outcome(report: StepReport) -> str:
    """What came of a step, in a few words: a score, or how much was found or decided."""
    top1 = report.after.top1 if report.after else None
    if top1:
        return f", top-1 {top1.value:.1%} on {top1.n} {top1.split} photos"
    for what, one in (("issues", "issue"), ("decisions", "decision")):
        counts = report.details.get(what)
        if isinstance(counts, dict):
            total = sum(count for count in counts.values() if isinstance(count, int))
            return f", {total:,} {one if total == 1 else what}" if total else f", no {what}"
    return ""
