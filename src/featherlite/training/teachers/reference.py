"""A teacher as a user names it: `folder` (a bundle), `folder#int8` (an export of one), `file.tflite`, `step:ID`."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.data.splits import read_splits
from featherlite.errors import BundleError, RequestError, did_you_mean
from featherlite.preprocess import Preprocess
from featherlite.runtime.flatbuffer import inspect, read_metadata
from featherlite.training.teachers.artefact import ArtefactTeacher, classifier_fault
from featherlite.training.teachers.classes import labels_from, read_labels
from featherlite.training.teachers.convention import InputWord, convention_of
from featherlite.training.teachers.teacher import Teacher

__all__ = ["STEP", "Reference", "open_teacher", "references", "steps_named", "taught_on"]

STEP = "step:"
"""Begins the name of a teacher that an earlier step of the same recipe left."""

MAX_LABELS = 16 << 20


@dataclass(frozen=True)
class Reference:
    """One teacher: where it lies, which export of a bundle is meant, and the labels file of a .tflite."""

    text: str
    path: Path
    export: str | None
    labels: Path | None

    def files(self) -> tuple[Path, ...]:
        """Every file that decides what this teacher says; bundle.json holds the hashes of a whole bundle."""
        if self.path.suffix == ".tflite" and not self.path.is_dir():
            return (self.path, *([self.labels] if self.labels else _beside(self.path)))
        own, of_run = (folder / "bundle.json" for folder in (self.path, self.path / "bundle"))
        return (of_run,) if of_run.is_file() and not own.is_file() else (own,)


def steps_named(named: Sequence[str]) -> tuple[str, ...]:
    """The ids of the recipe's steps among these teachers."""
    return tuple(text.removeprefix(STEP) for text in named if text.startswith(STEP))


def references(
    named: Sequence[str], labels: Sequence[Path] = (), earlier: Mapping[str, Path] | None = None
) -> tuple[Reference, ...]:
    """What the texts mean; the labels files belong to the .tflite teachers among them, in their order.

    `earlier` says where the results of the recipe's earlier steps lie, by id.

    Raises:
        RequestError: more labels files than .tflite teachers, or a step that is not among the earlier ones.
    """
    files, found = list(labels), []
    for text in named:
        path, export = Path(text), None
        if text.startswith(STEP):
            path = _left_by(text.removeprefix(STEP), earlier or {})
        elif "#" in text and not path.exists():
            place, _, export = text.rpartition("#")
            path = Path(place)
        is_file = path.suffix == ".tflite" and not path.is_dir()
        found.append(Reference(text, path, export, files.pop(0) if is_file and files else None))
    if files:
        raise RequestError(
            f"teacher_labels: {files[0]} belongs to no teacher.", "Give one labels file for each .tflite teacher."
        )
    return tuple(found)


def _left_by(step: str, earlier: Mapping[str, Path]) -> Path:
    if step not in earlier:
        raise RequestError(
            f"teacher: there is no earlier step '{step}' of a recipe here.",
            did_you_mean(step, earlier) or "Give the folder of its bundle.",
        )
    return earlier[step]


def taught_on(reference: Reference) -> frozenset[str]:
    """The sha256s of the photos that a bundle was trained on; empty where that is not known."""
    if reference.path.is_file():
        return frozenset()
    bundle = Bundle.open(reference.path)
    return frozenset(read_splits(bundle).of("train").sha256) if "splits" in bundle.provides() else frozenset()


def open_teacher(reference: Reference, stated: InputWord, like: Preprocess) -> Teacher:
    """The teacher, ready to answer; `like` is the student's contract, which a foreign .tflite takes over but for size.

    Raises:
        RequestError: nothing is there, no classifier, unknown input range, or labels that do not fit.
        BundleError: not a bundle, a damaged one, or one without that export or network.
    """
    path = reference.path
    if not path.exists():
        raise RequestError(
            f"teacher: there is no {path}.", "Give a bundle's folder, a folder with '#' and its export, or a .tflite."
        )
    if path.is_file():
        if path.suffix != ".tflite":
            raise RequestError(
                f"teacher: {path} is neither a bundle's folder nor a .tflite file.", "Give one of the two."
            )
        return _foreign(reference, path.read_bytes(), stated, like)
    bundle = Bundle.open(path)
    if reference.export is None:
        from featherlite.training.teachers.network import NetworkTeacher

        return NetworkTeacher(reference.text, bundle)
    if reference.export not in bundle.exports:
        held = did_you_mean(reference.export, bundle.exports) or "It has none: run the step 'quantize' or 'export'."
        raise BundleError(f"The teacher {path} has no export '{reference.export}'.", held)
    data = bundle.read(f"exports/{reference.export}/model.tflite")
    labels = tuple(label.name for label in bundle.labels)
    return _artefact(reference, data, labels, bundle.preprocess, "auto", own=True)


def _foreign(reference: Reference, data: bytes, stated: InputWord, like: Preprocess) -> Teacher:
    """A .tflite on its own: featherlite's carries labels and contract inside, others may have labels beside."""
    carried = read_metadata(data, "preprocess.json")
    fault = classifier_fault(facts := inspect(data))
    if fault:
        raise RequestError(
            f"The teacher {reference.text} is no classifier of photos: {fault}.", "Give a .tflite that classifies."
        )
    height, width = facts.input.shape[1:3]
    try:
        contract = (
            Preprocess.model_validate_json(carried)
            if carried is not None
            else Preprocess(width=width, height=height, fit=like.fit)
        )
    except ValidationError as error:
        raise RequestError(f"The teacher {reference.text}: its input: {error.errors()[0]['msg']}.") from None
    labels = _labels(reference, data, facts.output.shape[-1])
    return _artefact(reference, data, labels, contract, stated, own=carried is not None)


def _artefact(
    reference: Reference, data: bytes, labels: tuple[str, ...], contract: Preprocess, stated: InputWord, *, own: bool
) -> Teacher:
    facts = inspect(data)
    fault = classifier_fault(facts)
    if fault is None and facts.input.shape[1:3] != (contract.height, contract.width):
        fault = f"it takes {facts.input.shape[1:3]} and its contract makes {(contract.height, contract.width)}"
    if fault is None and facts.output.shape[-1] != len(labels):
        fault = f"it has {facts.output.shape[-1]} outputs and {len(labels)} labels"
    if fault:
        raise RequestError(f"The teacher {reference.text} cannot be asked: {fault}.", "Give another teacher.")
    convention = convention_of(reference.text, data, facts.input, stated, own)
    return ArtefactTeacher(reference.text, data, labels, contract, convention)


def _labels(reference: Reference, data: bytes, outputs: int) -> tuple[str, ...]:
    """The classes of a .tflite: from the stated file, else from inside, else from a text file beside it that fits.

    Raises:
        RequestError: none are found, or their number is not that of the outputs.
    """
    if reference.labels is not None:
        labels, source = read_labels(reference.labels), str(reference.labels)
        if len(labels) != outputs:
            raise RequestError(
                f"The labels {source} are {len(labels)}, and the teacher {reference.text} has {outputs} outputs.",
                "Give the labels file that belongs to it: one class a line, in the order of its outputs.",
            )
        return labels
    inside = _labels_inside(data)
    if inside is not None and len(inside) == outputs:
        return inside
    beside: dict[str, tuple[str, ...]] = {}
    for file in _beside(reference.path):
        with contextlib.suppress(RequestError):  # whatever else lies there as .txt
            beside[file.name] = read_labels(file)
    fitting = {labels for labels in beside.values() if len(labels) == outputs}
    if len(fitting) == 1:
        return fitting.pop()
    counts = ", ".join(f"{name} ({len(labels)} lines)" for name, labels in beside.items())
    seen = f"beside it lie {counts}" if beside else "there is no .txt beside it"
    raise RequestError(
        f"The teacher {reference.text} has {outputs} outputs and no labels for them; {seen}.",
        "Give its labels file with teacher_labels: one class a line, in the order of its outputs.",
    )


def _labels_inside(data: bytes) -> tuple[str, ...] | None:
    """Labels that the file carries: featherlite's own, or the one text file that TFLite's metadata packs behind it."""
    own = read_metadata(data, "labels.txt")
    if own is not None:
        return labels_from(own.decode("utf-8", "replace"))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            texts = [info for info in archive.infolist() if info.filename.endswith(".txt")]
            if len(texts) != 1 or texts[0].file_size > MAX_LABELS:
                return None
            return labels_from(archive.read(texts[0]).decode("utf-8", "replace"))
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return None


def _beside(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.glob("*.txt") if file.is_file())
