"""What one training of a study left: the figures, or the error, beside the answers; and the order it was given."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from featherlite.bundle import Bundle, write_atomically
from featherlite.comparison import Precision
from featherlite.errors import RequestError
from featherlite.recipe import Recipe, parse_recipe

__all__ = [
    "ANSWERS",
    "RESULT",
    "ChangedError",
    "Failure",
    "Figures",
    "Order",
    "Result",
    "figures_of",
    "read_result",
    "write_result",
]

RESULT = "result.json"
ANSWERS = "answers.parquet"
"""A copy of what the bundle holds, so that a comparison need not verify every file of every bundle."""


class ChangedError(RequestError):
    """What all rows are made from is not what it was when the study began; nothing more can be compared."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Order(_Document):
    """What a worker is to do: a recipe with every value spelled out, and where."""

    photos: str = Field(description="what stands for the photos (`run.photos_key`)")
    keys: tuple[str, ...] = Field(description="of all steps, as they are planned")
    key_without: str = Field(description="of the last step without the optional one")
    name: str
    seed: int
    steps: tuple[dict[str, Any], ...]
    own_seeds: tuple[int | None, ...] = Field(description="of each step; None is the recipe's")
    optional: str = Field(description="id of the step that may fail")
    tail: int = Field(description="how many steps at the end need not be kept once they are measured")
    shared: int = Field(description="how many steps at the start are all rows', and have been told of")
    measured: bool = Field(True, description="whether the last bundle holds answers to the test split")
    data: str
    out: str
    store: str
    cache: str

    @property
    def key(self) -> str:
        """Of the last step: what the result is known by."""
        return self.keys[-1]

    def recipe(self) -> Recipe:
        """The recipe, checked again."""
        made = parse_recipe({"seed": self.seed, "steps": list(self.steps)}, self.name)
        return made.with_own_seeds(self.own_seeds)


class Failure(_Document):
    """Why there are no figures."""

    type: str
    message: str
    hint: str = ""
    exit_code: int = 1


class Figures(_Document):
    """What a trained network weighs and took, apart from its answers."""

    input_px: int
    classes: int
    parameters: int
    macs: int
    weight_bytes: dict[Precision, int]
    file_bytes: dict[Precision, int]
    train_seconds: float
    from_scratch: bool = Field(description="whether weights that were asked for could not be had")
    drawings: bool
    notes: tuple[str, ...]
    answers_sha256: str


class Result(_Document):
    """One training's end. `key` is that of its last step, which says whether it is still what is asked for."""

    key: str
    status: Literal["done", "failed"]
    failure: Failure | None = None
    figures: Figures | None = None


def figures_of(bundle: Bundle, answers: bytes, shared: int, notes: tuple[str, ...]) -> Figures:
    """The figures of a row's last bundle; `shared` steps at its start are not told of in the notes."""
    from featherlite.evaluate.measure import artefact_bytes
    from featherlite.models.export_facts import export_facts
    from featherlite.runtime.flatbuffer import inspect
    from featherlite.step import steps

    precisions: tuple[Precision, ...] = ("float32", "float16", "int8")
    files = {name: artefact_bytes(bundle, name) for name in precisions if name in bundle.exports}
    facts = export_facts(bundle, "float32")
    trained = [report.seconds for report in bundle.history if steps()[report.step].room == "training"]
    warned = [warning for report in bundle.history[shared:] for warning in report.details.get("warnings", [])]
    return Figures(
        input_px=max(bundle.preprocess.width, bundle.preprocess.height),
        classes=len(bundle.labels),
        parameters=facts["parameters"],
        macs=facts["macs"],
        weight_bytes={name: inspect(content).weights_bytes for name, content in files.items()},
        file_bytes={name: len(content) for name, content in files.items()},
        train_seconds=round(sum(trained), 3),
        from_scratch=any(report.details.get("from_scratch") is True for report in bundle.history),
        drawings=any(report.details.get("synthetic") is True for report in bundle.history),
        notes=tuple(dict.fromkeys((*notes, *map(str, warned)))),
        answers_sha256=hashlib.sha256(answers).hexdigest(),
    )


def write_result(place: Path, result: Result, answers: bytes = b"") -> None:
    """Puts a result into its folder, the answers first: a result that can be read is whole."""
    if answers:
        write_atomically(place / ANSWERS, answers)
    write_atomically(place / RESULT, result.model_dump_json(indent=1).encode() + b"\n")


def read_result(place: Path) -> tuple[Result, bytes] | None:
    """The result in a folder and its answers; None where there is none, or one that is not whole any more."""
    try:
        result = Result.model_validate_json((place / RESULT).read_bytes())
        if result.figures is None:
            return result, b""
        answers = (place / ANSWERS).read_bytes()
    except (OSError, ValidationError):
        return None
    whole = hashlib.sha256(answers).hexdigest() == result.figures.answers_sha256
    return (result, answers) if whole and (place / "bundle" / "bundle.json").is_file() else None
