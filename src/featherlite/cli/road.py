"""Walking a recipe in front of the user: what is going on, then the ladder and the page."""

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

__all__ = ["walk"]


def walk(recipe: Recipe, data: Path, out: Path, terminal: Terminal) -> dict[str, Any]:
    """Runs the recipe, shows its ladder, writes its page; returns the JSON document."""
    from featherlite.report.ladder import ladder_rows, ladder_table
    from featherlite.run import run_recipe

    place = {plan.id: number for number, plan in enumerate(recipe.steps, start=1)}

    finished: list[StepReport] = []

    def tell(id_: str, report: StepReport | None, cached: bool) -> None:
        label = f"[{place[id_]}/{len(place)}] {id_}"
        if report is None:
            terminal.show(label)
            return
        finished.append(report)
        terminal.show("  done before, reused" if cached else f"  {_outcome(report)}")

    try:
        run = run_recipe(recipe, data, out, progress=terminal.progress(), listener=tell)
    except FeatherliteError:
        terminal.close()
        if finished:
            terminal.show("", ladder_table(ladder_rows(finished, None)), "")
            with contextlib.suppress(FeatherliteError, OSError):  # the failure itself is what must be told
                page = _rewrite_pages(finished[-1], data, out)
                if page is not None:
                    terminal.show(f"Page: {page}")
        raise
    terminal.close()
    verify = run.bundle.read_json("verify.json") if "verify.json" in run.bundle else None
    rows = ladder_rows(run.bundle.history, verify)
    page = _write_pages(run.bundle, data, out)
    terminal.show("", ladder_table(rows), "", f"Bundle: {out / 'bundle'}   Page: {page}")
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "rows": rows,
        "bundle": str(out / "bundle"),
        "report": str(page),
        "reused": run.reused,
    }


def _rewrite_pages(last: StepReport, data: Path, out: Path) -> Path | None:
    """Makes the pages speak of this failed run, where its steps are what the bundle now holds; the one to look at."""
    from featherlite.bundle import Bundle
    from featherlite.report.audited import AUDIT_PAGE

    bundle = Bundle.open(out / "bundle")
    if bundle.history[-1].key != last.key:
        return None
    page = _write_pages(bundle, data, out)
    return out / AUDIT_PAGE if last.step == "audit" else page


def _write_pages(bundle: Bundle, data: Path, out: Path) -> Path:
    """The path of the run's page; the audit's page, which it links, is written first where there was an audit."""
    from featherlite.data.audit_tables import ISSUES
    from featherlite.report.audit_page import bundle_audit, write_audit_page
    from featherlite.report.audited import AUDIT_PAGE
    from featherlite.report.page import write_page
    from featherlite.run import cache_folder

    if ISSUES in bundle:
        write_audit_page(bundle_audit(bundle, data, cache_folder()), data, out / AUDIT_PAGE, in_run=True)
    return write_page(bundle, data, out / "report.html")


def _outcome(report: StepReport) -> str:
    top1 = report.after.top1 if report.after else None
    score = f", top-1 {top1.value:.1%} on {top1.n} {top1.split} photos" if top1 else ""
    return f"{report.seconds:.0f} s{score}"
