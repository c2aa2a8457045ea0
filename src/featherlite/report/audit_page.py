"""The audit's page: one self-contained HTML file that shows every fault with its pictures and what to do about it."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle, storage_guard, write_atomically
from featherlite.data.audit import Audit, AuditConfig
from featherlite.data.audit_tables import SUMMARY, read_issues
from featherlite.data.features import HANDMADE
from featherlite.data.listing import refuse_alike
from featherlite.data.source import Scan, scan
from featherlite.errors import DataError
from featherlite.report.audit_facts import CheckFacts, Facts, check_facts, known_photos
from featherlite.report.audit_photos import BUDGET, AuditPhotos
from featherlite.report.audit_view import Section, sections, wanted_paths
from featherlite.report.histograms import histogram_plot
from featherlite.report.next_steps import Commands, RunNote, after_audit
from featherlite.report.svg import Svg
from featherlite.report.templating import environment, named, policy_hash, template_text, version, visible
from featherlite.step import Progress

__all__ = ["audit_commands", "bundle_audit", "refusal", "render_audit_page", "write_audit_page"]

log = logging.getLogger("featherlite")

MOST_FAULTS = 40
MOST_CLASSES = 1000
"""Classes that have a bar; of more, the rarest and the commonest."""


def write_audit_page(
    result: Audit,
    photos: Path | None,
    out: Path,
    *,
    note: RunNote | None = None,
    decided: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The path of the written page. Photos that changed since the audit are named in a warning and not shown.

    `photos` is the root that was audited; without it the page has no pictures. `note` says that a run made the audit:
    then what is to be typed next is the run again; `decided` that the run has done about the issues what it was told.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        StorageError: the page cannot be written.
    """
    folder = None if note is not None else out.resolve().parent.name
    commands = audit_commands(result, result.scan.root.resolve().name, folder, note)
    text = render_audit_page(result, photos, [] if decided else commands, decided=decided, progress=progress)
    with storage_guard(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text.encode("utf-8"))
    return out


def bundle_audit(bundle: Bundle, data: Path | None, cache: Path, progress: Progress | None = None) -> Audit:
    """The audit that a bundle holds, with the photos as they are now, so far as they can be read.

    Raises:
        BundleError: the bundle has no audit, or a damaged one.
    """
    found = Scan(Path(data or ""), "folders", (), ())
    if data is not None:
        with contextlib.suppress(DataError):  # photos that are gone spoil the pictures, not the page
            found = scan(data, progress, cache, strict=False)
    issues = read_issues(bundle)
    summary = bundle.read_json(SUMMARY)
    listed, features = (summary.get("checks"), summary.get("features")) if isinstance(summary, dict) else (None, None)
    names = [*(listed if isinstance(listed, dict) else ()), *(issue.check for issue in issues)]
    made = tuple(dict.fromkeys(names))
    unmade: tuple[str, ...] = ()
    told = [report.config for report in bundle.history if report.step == "audit"]
    with contextlib.suppress(ValueError):  # settings of another version, which say nothing here
        unmade = tuple(name for config in told[-1:] for name in AuditConfig(**config).chosen() if name not in made)
    return Audit(found, issues, made, None, features if isinstance(features, str) else None, unmade)


def render_audit_page(
    result: Audit,
    photos: Path | None,
    commands: Sequence[tuple[str, str]] = (),
    budget: int = BUDGET,
    *,
    decided: bool = False,
    progress: Progress | None = None,
) -> str:
    """The page as HTML; everything that comes from the photos, their names or the issues is escaped.

    `commands` are what to do next: what for, and what to type. `decided`: what stops a run was decided on already.
    """
    templates = environment("The audit's page")
    facts = known_photos(result)
    pictures = AuditPhotos(photos, facts.photos, budget)
    pictures.load(wanted_paths(result, facts), progress)
    if pictures.changed:
        log.warning(
            "%d photos changed or vanished since they were audited, such as '%s'; run the audit again.",
            len(pictures.changed),
            visible(pictures.changed[0]),
        )
    script = template_text("audit.js")
    name = visible(result.scan.root.resolve().name)
    checks = _checks(result)
    parts = sections(result, facts, pictures)
    shared = _shared(parts)
    return templates.get_template("audit.html.j2").render(
        title=f"featherlite audit: {name}",
        name=name,
        style=template_text("style.css") + template_text("audit.css") + _pictures(shared),
        script=script,
        script_hash=policy_hash(script),
        version=version(),
        summary=_summary(result, checks),
        checks=checks,
        sections=parts,
        shared=shared,
        unmade=[check_facts(name) for name in result.unmade],
        features=visible(result.features) if result.features else None,
        weak=result.features == HANDMADE.name,
        decided=decided,
        classes=_classes(result),
        plots=_plots(result.scan.looks),
        faults=_faults(result, facts),
        changed=[facts.place(path) for path in pictures.changed],
        spent=pictures.spent,
        pictured=photos is not None and facts.at_hand,
        commands=commands,
    )


def audit_commands(result: Audit, data: str, folder: str | None, note: RunNote | None = None) -> Commands:
    """What to do next, and what to type for it; `data` is where the photos lie and `folder` where the audit's files do.

    Without a folder it was a run that made the audit, and the run (`note`) is what goes on. Nothing is named where no
    classifier can be made of the photos.
    """
    if (result.scan.photos or result.scan.faults) and len(result.scan.classes) < 2:
        return []
    blocking = [row.facts.name for row in _checks(result) if row.count and row.facts.blocks]
    if joins := refusal(result) is not None:
        blocking += sorted({issue.check for issue in result.issues if issue.action == "merge"} - set(blocking))
        if not blocking:
            return []
    return after_audit(data, folder, blocking=blocking, joins=joins, found=bool(result.issues), note=note)


def refusal(result: Audit) -> tuple[str, str] | None:
    """Why no run takes these photos as they are, whatever the checks found, and what helps; None where one does."""
    classes = result.scan.classes
    if len(classes) == 1:
        return (
            f"Only one class ('{classes[0]}') has photos, and a classifier needs two or more.",
            "Add photos of another class.",
        )
    try:
        refuse_alike(classes)
    except DataError as error:
        return error.message, error.hint
    return None


@dataclass(frozen=True)
class CheckRow:
    """A check in the overview: what it looks for, how many issues it found, and their share of the most frequent."""

    facts: CheckFacts
    count: int
    share: float


def _checks(result: Audit) -> list[CheckRow]:
    counts = result.counts()
    most = max(counts.values(), default=0) or 1
    rows = [CheckRow(check_facts(name), count, count / most) for name, count in counts.items()]
    return sorted(rows, key=lambda row: (row.count == 0, not row.facts.blocks, -row.count, row.facts.name))


def _summary(result: Audit, checks: list[CheckRow]) -> dict[str, Any]:
    """The figures at the top. Photos with nothing against them: no issue but keep-together concerns them."""
    photos = result.scan.photos
    concerned = {path for issue in result.issues if issue.action != "keep-together" for path in issue.paths}
    blocking = [row for row in checks if row.facts.blocks and row.count]
    sizes = Counter(photo.label for photo in photos)
    return {
        "photos": len(photos),
        "unusable": not photos and (bool(result.scan.faults) or not result.issues),
        "classes": len(sizes),
        "labels": named([visible(label) for label in sorted(sizes, key=str.casefold)], 8),
        "least": min(sizes.values(), default=0),
        "most": max(sizes.values(), default=0),
        "issues": len(result.issues),
        "kinds": sum(row.count > 0 for row in checks),
        "blocking": blocking,
        "refusal": tuple(map(visible, refusal(result) or ())),
        "stops": sum(row.count for row in blocking),
        "concerned": sum(photo.path in concerned for photo in photos),
        "faults": len(result.scan.faults),
        "files": sum(fault.reason != "empty-class" for fault in result.scan.faults),
        "bytes": sum(photo.bytes for photo in photos),
    }


def _classes(result: Audit) -> dict[str, Any]:
    """A row a class, the commonest first: photos, and how many of them an issue concerns."""
    concerned = {path for issue in result.issues if issue.action != "keep-together" for path in issue.paths}
    counts = Counter(photo.label for photo in result.scan.photos)
    doubtful = Counter(photo.label for photo in result.scan.photos if photo.path in concerned)
    rows = sorted(
        ((visible(label), count, doubtful[label]) for label, count in counts.items()), key=lambda row: (-row[1], row[0])
    )
    more = max(0, len(rows) - MOST_CLASSES)
    shown = rows[: MOST_CLASSES // 2] + rows[-(MOST_CLASSES // 2) :] if more else rows
    return {"rows": shown, "more": more, "most": rows[0][1] if rows else 1, "half": MOST_CLASSES // 2}


def _plots(looks: NDArray[np.void]) -> list[tuple[str, str, Svg | None]]:
    """Title, a sentence, and a histogram where the photos differ: sizes, shapes, light."""
    if not len(looks):
        return []
    width, height = looks["width"].astype(np.float64), looks["height"].astype(np.float64)
    plots: list[tuple[str, str, Svg | None]] = []
    if len(np.unique(looks[["width", "height"]])) == 1:
        plots.append(("Size", f"All photos are {looks['width'][0]} × {looks['height'][0]} pixels.", None))
    else:
        short, shape = np.minimum(width, height), width / height
        said = f"Half of the photos have a short side of {np.median(short):,.0f} pixels or less."
        plot = histogram_plot(short, "Short side in pixels", lambda value: f"{value:,.0f}", logarithmic=True)
        plots.append(("Size: short side in pixels", said, plot))
        upright, wide = float(np.mean(shape < 0.98)), float(np.mean(shape > 1.02))
        said = f"{wide:.0%} are wider than high, {upright:.0%} higher than wide."
        limits = (min(0.5, float(shape.min())), max(2.0, float(shape.max())))
        plot = histogram_plot(shape, "Width by height", lambda value: f"{value:.2g}", limits=limits, logarithmic=True)
        plots.append(("Shape: width by height", said, plot))
    shares = looks["histogram"].astype(np.float64)
    light = shares @ ((np.arange(shares.shape[1]) + 0.5) / shares.shape[1])
    said = f"The middle half lies between {np.quantile(light, 0.25):.0%} and {np.quantile(light, 0.75):.0%} of white."
    plot = histogram_plot(light, "Mean brightness", lambda value: f"{value:.0%}", limits=(0.0, 1.0))
    return [*plots, ("Light: mean brightness", said, plot)]


def _faults(result: Audit, facts: Facts) -> dict[str, Any]:
    """The files that are not used and that no issue tells of: how many of each reason, and the first of them."""
    told = {path for issue in result.issues for path in issue.paths}
    faults = [fault for fault in result.scan.faults if fault.path not in told]
    shown = [(facts.place(fault.path), fault.reason, facts.text(fault.message)) for fault in faults[:MOST_FAULTS]]
    return {
        "count": len(faults),
        "reasons": Counter(fault.reason for fault in faults).most_common(),
        "shown": shown,
        "more": len(faults) - len(shown),
    }


def _shared(parts: Sequence[Section]) -> dict[str, str]:
    """Thumbnail -> name of its style, for those that stand on the page more than once: they are written only once."""
    pictures = [picture for part in parts for card in part.cards for picture in card.pictures]
    pictures += [one for part in parts for card in part.cards for _, some in card.examples for one in some]
    counts = Counter(picture.image for picture in pictures if picture.image is not None)
    return {image: f"p{number}" for number, (image, count) in enumerate(counts.items()) if count > 1}


def _pictures(shared: Mapping[str, str]) -> str:
    """The styles that show the shared thumbnails; a thumbnail is base64, which cannot end a style."""
    return "".join(f".{name}{{background-image:url({image})}}\n" for image, name in shared.items())
