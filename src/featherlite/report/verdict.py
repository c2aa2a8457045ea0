"""The verdict at the top of a page: what one gets, in one paragraph and a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherlite.bundle import Bundle
from featherlite.history import Estimate
from featherlite.report.documents import RUNTIME_NAMES, ExportCheck, Scores, spoken_check
from featherlite.report.ladder import Row
from featherlite.report.next_steps import RunNote
from featherlite.report.plots import interval_strip
from featherlite.report.results import guessing
from featherlite.report.templating import visible
from featherlite.report.thumbnails import without_places
from featherlite.report.units import bytes_text, percent_text

__all__ = ["has_model", "no_model_view", "verdict_view"]

DONE = {"audit": "looked over", "decisions": "decided on", "splits": "split"}
"""What was done with the photos, by what the bundle provides."""


def verdict_view(
    bundle: Bundle, rows: Sequence[Row], test: Scores | None, checks: tuple[ExportCheck, ...]
) -> dict[str, Any]:
    """What the top of the page says: its state, its sentences, the score with its interval, the numbers beside it."""
    check = spoken_check(checks, bundle.subject)
    own = test if test and test.subject == bundle.subject else None
    measured = [row for row in rows if row["bytes"] is not None]
    last = measured[-1] if measured else None
    estimate, subject = _score(check, own, last)
    chance = guessing(own) if own else None
    size = check.bytes if check else last["bytes"] if last else None
    kind = check.name if check else last["subject"] if last else bundle.subject
    arena = check.arena_bytes if check else last.get("arena_bytes") if last else None
    runtimes = [RUNTIME_NAMES.get(name, name) for name in check.runtimes if name != "keras"] if check else []
    state = ("passed" if all(entry.passed for entry in checks) else "failed") if checks else "unverified"
    return {
        "state": state,
        "estimate": estimate,
        "strip": interval_strip(estimate, chance) if estimate else None,
        "on_test": estimate is not None and estimate.split == "test",
        "subject": subject,
        "sentences": _sentences(bundle, kind, estimate, chance, size, arena, check),
        "bytes": size,
        "size_of": "float32 weights" if kind == "network" else f"{kind} model file",
        "arena_bytes": arena,
        "parameters": last["parameters"] if last else None,
        "macs": last["macs"] if last else None,
        "runtimes": runtimes,
        "failures": [failure for entry in checks for failure in entry.failures],
    }


def has_model(bundle: Bundle) -> bool:
    """Whether there is anything that could name what a photo shows, or a score of one."""
    return "network" in bundle.provides() or bool(bundle.exports) or bool(bundle.metrics) or "verify.json" in bundle


def no_model_view(bundle: Bundle, note: RunNote | None, *roots: Path | None) -> dict[str, Any]:
    """What the top of the page says where there is no model yet: what was done, what stopped the run, what helps."""
    done = [what for part, what in DONE.items() if part in bundle.provides()]
    so_far = f"So far the photos were {', '.join(done[:-1])}{' and ' if done[1:] else ''}{done[-1]}" if done else ""
    stopped = note is not None and bool(note.message)
    message, hint = (note.message, note.hint) if note is not None else ("", "")
    return {
        "state": "stopped" if stopped else "none",
        "stopped_at": visible(note.stopped_at) if note is not None else "",
        "so_far": f"{so_far}; no network was trained." if so_far else "No network was trained.",
        "message": visible(without_places(message, *roots)),
        "hint": visible(without_places(hint, *roots)),
    }


def _score(check: ExportCheck | None, test: Scores | None, last: Row | None) -> tuple[Estimate | None, str | None]:
    """The score that speaks: the artefact's own, else what was evaluated of it, else the last row's.

    Rows before the last are of other models.
    """
    if check and check.top1:
        return check.top1, check.name
    if test and test.top1:
        return test.top1.model_copy(update={"split": "test"}), test.subject
    if last and last["top1"]:
        return Estimate.model_validate(last["top1"]), last["subject"]
    return None, None


def _sentences(
    bundle: Bundle,
    kind: str | None,
    estimate: Estimate | None,
    chance: float | None,
    size: int | None,
    arena: int | None,
    check: ExportCheck | None,
) -> list[str]:
    said = [_what(bundle, kind)]
    if estimate:
        hits, unseen = round(estimate.value * estimate.n), estimate.split == "test"
        which = "test photos that it had never seen" if unseen else f"{estimate.split or ''} photos".strip()
        said.append(
            f"It named {hits:,} of {estimate.n:,} {which} correctly: {percent_text(estimate.value)}, "
            f"with 95% confidence between {percent_text(estimate.low)} and {percent_text(estimate.high)}."
        )
        if not unseen:
            said.append("Training chose its best epoch by these photos, so expect somewhat less on new ones.")
        if chance is not None:
            said.append(f"Always answering the commonest class would be right on {percent_text(chance)}.")
    if size is not None:
        needs = f" and works in {bytes_text(arena)} of memory" if arena is not None else ""
        said.append(f"It takes {bytes_text(size)}{' of flash' if kind == 'int8' else ''}{needs}.")
    network = check.runtimes.get("keras") if check else None
    if check and network and network.top1 and estimate and estimate.n == network.top1.n:
        loss = (network.top1.value - estimate.value) * 100
        if abs(loss) < 0.05:
            said.append(f"Making it {check.name} cost no accuracy.")
        else:
            change = f"{'cost' if loss > 0 else 'gained'} {abs(loss):.1f} points of accuracy"
            photos = round(abs(loss) / 100 * estimate.n)
            said.append(f"Making it {check.name} {change}: {photos:,} of {estimate.n:,} photos.")
    return said


def _what(bundle: Bundle, kind: str | None) -> str:
    names = {
        "network": "A float32 network",
        "int8": "An int8 model",
        "int16x8": "An int16x8 model",
        "float16": "A float16 model",
    }
    parts = [names.get(kind or "", "A model")]
    if "preprocess.json" in bundle:
        contract = bundle.preprocess
        parts.append(f"for {contract.width} × {contract.height} pixel photos")
    if "labels.json" in bundle:
        parts.append(f"that tells {len(bundle.labels):,} classes apart")
    return " ".join(parts) + "."
