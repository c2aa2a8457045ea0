"""What a page names as the next thing to do, and what to type for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from featherlite.reference import RUN_NOTE, Reference, read_reference
from featherlite.report.templating import visible
from featherlite.report.thumbnails import without_places

__all__ = ["Commands", "RunNote", "after_audit", "read_run_note", "run_commands", "run_note"]

Commands = list[tuple[str, str]]
"""What for, and what to type."""

OWN = "decide photo by photo, in a list of your own"


@dataclass(frozen=True)
class RunNote:
    """What a run's folder says of the run: what was typed, and, where it stopped, at which step, why and what helps."""

    command: str
    data: str = "PHOTOS"
    stopped_at: str = ""
    message: str = ""
    hint: str = ""
    reference: Reference | None = None
    """somebody else's ladder, that the recipe names"""


def read_run_note(folder: Path, data: Path | None, done: Sequence[str]) -> RunNote | None:
    """What `run.json` in a run's folder says, as typed beside that folder; None where it says nothing.

    `data` is where the photos lie, `done` are the ids of the steps that the folder's bundle has gone through.
    """
    try:
        note = json.loads((folder / RUN_NOTE).read_text("utf-8"))
        recipe, error = note["recipe"], note.get("error") or {}
        steps = [str(step["id"]) for step in recipe["steps"]]
        message, hint = str(error.get("message", "")), str(error.get("hint", ""))
        name = str(recipe["name"])
        asked = note.get("asked") or {}
        overrides, seed = [str(one) for one in asked.get("set", [])], asked.get("seed")
        seed = None if seed is None else int(seed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    goes_on = steps[: len(done)] == list(done) and len(done) < len(steps)
    command = _run_command(_recipe(name), data, _typed(folder.resolve().name, "OUT")) + _asked(overrides, seed)
    stopped_at = steps[len(done)] if message and goes_on else ""
    return RunNote(command, _data(data), stopped_at, message, hint, read_reference(folder))


def run_note(data: Path | None) -> RunNote:
    """What can be said of a run whose folder says nothing."""
    return RunNote(_run_command("RECIPE", data, "OUT"), _data(data))


def _run_command(recipe: str, data: Path | None, out: str) -> str:
    return f"featherlite run {recipe} --data {_data(data)} --out {out}"


def _asked(overrides: Sequence[str], seed: int | None) -> str:
    """What makes the run this one and no other of its recipe; of a path only its last name, as of the photos."""
    named = [_typed(without_places(one).replace("…/", ""), "STEP.KEY=VALUE") for one in overrides]
    return "".join(f" --set {one}" for one in named) + ("" if seed is None else f" --seed {seed}")


def _data(data: Path | None) -> str:
    """Where the photos lie, as typed: only its last name, unless it is a set of the hub."""
    name = str(data or "")
    return _typed(name if name.startswith("hub:") else Path(name).name, "PHOTOS")


def run_commands(note: RunNote, blocking: Sequence[str]) -> Commands:
    """What gets a run on that made no model yet; `blocking` are the checks whose issues stop it."""
    if blocking:
        return [
            ("Leave out what stops the run, as suggested", f"{note.command} --set clean.apply={','.join(blocking)}"),
            (f"Or {OWN}", f"{note.command} --set clean.overrides=decisions.csv"),
        ]
    if note.message:
        return [("Mend that, and go on where the run stopped", note.command)]
    return []


def after_audit(
    data: str,
    folder: str | None,
    *,
    blocking: Sequence[str] = (),
    joins: bool = False,
    found: bool = False,
    note: RunNote | None = None,
) -> Commands:
    """What to do after an audit; `data` is where the photos lie and `folder` where the audit's files do.

    Without a folder it was a run that made the audit, and the run (`note`) is what goes on. `blocking` are the checks
    whose issues stop a run; `joins` says that some of them ask for classes to be joined, `found` that there are issues
    at all.
    """
    run = f"featherlite run mcu --data {_typed(data, 'PHOTOS')} --out out"
    if folder is None:
        made = note or RunNote(run)
        return run_commands(made, blocking) or [("Go on", made.command)]
    tidy = _typed(f"{Path(data).stem}-clean", "CLEAN")
    clean = f"featherlite clean {_typed(data, 'PHOTOS')} --audit {_typed(folder, 'AUDIT')} --out {tidy}"
    overrides = f"{clean} --overrides decisions.csv"
    last = ("Then train on what remains", f"featherlite run mcu --data {tidy}/photos.csv --out out")
    if blocking:
        what = (
            "Join the classes of like names, and leave out what stops a run" if joins else "Leave out what stops a run"
        )
        apply = (f"{what}, as suggested", f"{clean} --apply {','.join(blocking)}")
        return [apply, (f"Or {OWN}", overrides), last]
    if found:
        return [("Train on these photos", run), (f"Or first {OWN}", overrides), last]
    return [("Train on these photos", run)]


def _typed(name: str, placeholder: str) -> str:
    """A name as it is typed in a shell; a placeholder where something in it cannot be seen."""
    return shlex.quote(name) if name and name == visible(name) else placeholder


def _recipe(name: str) -> str:
    """A shipped recipe by its name, any other as the file that it was read from."""
    shipped: Any = resources.files("featherlite").joinpath("recipes")
    known = any(entry.name == f"{name}.toml" for entry in shipped.iterdir())
    return _typed(name if known else f"{name}.toml", "RECIPE")
