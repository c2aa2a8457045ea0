"""What a run's page says of its audit: how many issues of each kind there were, and what was done about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from featherlite.bundle import Bundle
from featherlite.data.audit_tables import ISSUES, read_issues
from featherlite.data.checks import check_names
from featherlite.data.decisions import BY_HAND, bundle_decisions
from featherlite.report.audit_facts import check_facts

__all__ = ["AUDIT_PAGE", "audited_view"]

AUDIT_PAGE = "audit.html"
"""The name of the audit's page beside that of the run."""

DONE = {"drop": "left out", "relabel": "relabelled", "merge": "merged", "keep": "kept"}


def audited_view(bundle: Bundle, linked: bool) -> dict[str, Any] | None:
    """A row for each check that found or decided something; None where the bundle has no audit.

    `linked` says that the audit's own page lies beside this one.

    Raises:
        BundleError, DataError: the issues or the decisions are damaged.
    """
    if ISSUES not in bundle:
        return None
    issues = read_issues(bundle)
    found = Counter(issue.check for issue in issues)
    done: dict[str, Counter[str]] = defaultdict(Counter)
    for decision in bundle_decisions(bundle):
        done[decision.check][decision.action] += 1
    names = sorted(found.keys() | (done.keys() - {BY_HAND}), key=lambda name: (-found[name], name))
    rows = [
        {
            "check": name,
            "title": check_facts(name).title,
            "blocks": name in check_names() and check_facts(name).blocks,
            "count": found[name],
            "done": _spoken(done[name]),
        }
        for name in names
    ]
    rows.sort(key=lambda row: not row["blocks"])
    return {
        "rows": rows,
        "issues": len(issues),
        "by_hand": _spoken(done[BY_HAND]),
        "page": AUDIT_PAGE if linked else None,
    }


def _spoken(actions: Counter[str]) -> str:
    return ", ".join(f"{actions[action]:,} {word}" for action, word in DONE.items() if actions[action])
