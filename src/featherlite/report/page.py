"""The page: one self-contained HTML file that says what a model is, where it comes from and what was proven."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from featherlite.bundle import Bundle, storage_guard, write_atomically
from featherlite.report.audited import AUDIT_PAGE, audited_view
from featherlite.report.beside import beside_view
from featherlite.report.documents import Scores, read_checks, read_scores
from featherlite.report.ladder import ladder_rows
from featherlite.report.next_steps import Commands, RunNote, run_commands
from featherlite.report.origins import photos_view, provenance_view
from featherlite.report.results import classes_view, confusion_view, mistakes_view
from featherlite.report.road import checks_view, curves_view, ladder_view
from featherlite.report.templating import environment, named, template_text, version
from featherlite.report.thumbnails import Thumbnails
from featherlite.report.verdict import has_model, no_model_view, verdict_view
from featherlite.report.weather import weather_view

__all__ = ["render_page", "write_page"]


def write_page(
    bundle: Bundle, photos_root: Path | None, out: Path, *, synthetic: bool | None = None, note: RunNote | None = None
) -> Path:
    """The path of the written page. Sections whose facts the bundle lacks say which command adds them.

    `photos_root` is where thumbnails come from; without it the page has none. `synthetic` says whether the photos are
    sample drawings; by default what the split step recorded counts. `note` is what the run's folder says of the run;
    an audit's page beside `out` is linked.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        BundleError: a document of the bundle does not hold what it should.
        StorageError: the page cannot be written.
    """
    linked = (out.parent / AUDIT_PAGE).is_file()
    text = render_page(bundle, photos_root, synthetic=synthetic, linked=linked, note=note)
    with storage_guard(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text.encode("utf-8"))
    return out


def render_page(
    bundle: Bundle,
    photos_root: Path | None,
    *,
    synthetic: bool | None = None,
    linked: bool = False,
    note: RunNote | None = None,
) -> str:
    """The page as HTML; everything that comes from the bundle or its photos is escaped.

    `linked` says that the audit's page lies beside this one. Where no model was made, the page says what stopped the
    run, by its `note`.
    """
    templates = environment()
    history = bundle.history
    document = bundle.read_json("verify.json") if "verify.json" in bundle else None
    checks = read_checks(document)
    rows = ladder_rows(history, document)
    test, val = read_scores(bundle, "test"), read_scores(bundle, "val")
    split, scores = _shown(bundle.subject, {"test": test, "validation": val})
    thumbnails = Thumbnails(photos_root)
    roots = (thumbnails.root, bundle.home)
    labels = [label.name for label in bundle.labels] if "labels.json" in bundle else []
    drawings = any(report.details.get("synthetic") is True for report in history) if synthetic is None else synthetic
    # Mistakes come before samples: where the budget of bytes is short they tell more.
    mistakes = mistakes_view(scores, thumbnails) if scores else None
    made = has_model(bundle)
    audited = audited_view(bundle, linked)
    return templates.get_template("page.html.j2").render(
        title=f"featherlite report: {named(labels, 3)}" if labels else "featherlite report",
        subject=named(labels, 8),
        style=template_text("style.css"),
        synthetic=drawings,
        split=split,
        scores=scores,
        others=_others(scores, bundle.subject),
        verdict=verdict_view(bundle, rows, test, checks) if made else no_model_view(bundle, note, *roots),
        photos=photos_view(bundle, thumbnails),
        audited=audited,
        ladder=ladder_view(rows, *roots),
        beside=beside_view(rows, note.reference) if note is not None and note.reference is not None else None,
        curves=curves_view(history, *roots),
        confusion=confusion_view(scores, labels) if scores else None,
        classes=classes_view(scores) if scores else None,
        mistakes=mistakes,
        weather=weather_view(bundle, thumbnails),
        checks=checks_view(checks, bundle.subject, *roots),
        commands=_commands(bundle, bool(checks)) if made else _road(bundle, audited, note),
        origin=provenance_view(bundle, test, *roots),
        version=version(),
    )


def _shown(subject: str, found: dict[str, Scores | None]) -> tuple[str, Scores | None]:
    """The split whose scores are shown, and those: the bundle's own before another model's, the first split first."""
    known = [(split, scores) for split, scores in found.items() if scores is not None]
    return min(known, key=lambda pair: pair[1].subject != subject, default=("", None))


def _others(scores: Scores | None, subject: str) -> str:
    """Whose scores these are, where they are not those of what speaks for the bundle; else empty."""
    if scores is None or scores.subject == subject:
        return ""
    return f"of {_called(scores.subject)}, not of {_called(subject)}"


def _called(subject: str) -> str:
    return "the float32 network" if subject == "network" else f"the {subject} artefact"


def _road(bundle: Bundle, audited: dict[str, Any] | None, note: RunNote | None) -> Commands:
    """What to type where no model was made yet."""
    undecided = audited is not None and "decisions" not in bundle.provides()
    blocking = [row["check"] for row in audited["rows"] if row["blocks"]] if audited and undecided else []
    data = note.data if note is not None else "PHOTOS"
    train = ("Train a network on these photos", f"featherlite run mcu --data {data} --out out")
    return (run_commands(note, blocking) if note is not None else []) or [train]


def _commands(bundle: Bundle, verified: bool) -> Commands:
    """What to type next; the bundle is named as seen from the folder that its run was started in."""
    home = bundle.home
    name = "BUNDLE" if home is None else home.parent.name if home.name == "bundle" else home.name
    folder = name if home is None or home.name != "bundle" else f"{name}/bundle"
    quoted = shlex.quote(name)
    artefact = next((export for export in (bundle.subject, "int8", *bundle.exports) if export in bundle.exports), None)
    commands = [("Name the species on a photo", f"featherlite predict {quoted} photo.jpg")]
    if artefact is None:
        commands = [("Make an int8 artefact of it", f"featherlite quantize {quoted} {shlex.quote(name + '-int8')}")]
    elif not verified:
        commands.append(("Prove the artefacts on every runtime", f"featherlite verify {quoted}"))
    else:
        commands.append(("Prove the artefacts again, on this machine", f"featherlite verify {quoted}"))
    commands.append(("See the ladder in the terminal", f"featherlite ladder {quoted}"))
    if artefact is not None:
        model = shlex.quote(f"{folder}/exports/{artefact}/model.tflite")
        commands.append(("Take the model to your app (its labels travel inside)", f"cp {model} my-app/"))
        if artefact == "int8":
            commands.append(("Build it into a microcontroller's firmware", f"xxd -i {model} > model_data.cc"))
    return commands
