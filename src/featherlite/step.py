"""Steps: one typed config plus one function `(Bundle, Config, Context) -> Bundle`, in one file.

A step is declared, not wired: a file in a step room that holds a function under `@step` is found by name. File name,
step name, sub-command and recipe key are the same word.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError, did_you_mean

__all__ = [
    "MAX_SEED",
    "ROOMS",
    "Context",
    "Progress",
    "Silent",
    "Step",
    "StepConfig",
    "StepEntry",
    "load_step",
    "step",
    "steps",
]

ROOMS = ("data", "models", "training", "shrink", "quantize", "export", "evaluate")
"""The rooms in which steps are looked for, in the order of the road."""

MAX_SEED = 2**32 - 1
"""Seeds are 32 bits wide: what every random generator involved can take."""

log = logging.getLogger("featherlite")


class StepConfig(BaseModel):
    """Base of every step's config. Fields carry type, range and description, and all have defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    idle: ClassVar[Mapping[str, str]] = {}
    """Inherited settings that the step has no use for, each with the reason; only their defaults are allowed."""

    @model_validator(mode="after")
    def _idle_ones_stay(self) -> Self:
        for key, why in self.idle.items():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} does nothing here: {why}")
        return self

    @classmethod
    def taken(cls) -> tuple[str, ...]:
        """The names of its settings, but for the idle ones."""
        return tuple(name for name in cls.model_fields if name not in cls.idle)

    def files(self) -> tuple[Path, ...]:
        """Files outside bundle and photos that the step reads; their content counts in the key of its result."""
        return ()

    def lacking(self) -> str:
        """What the step cannot begin without and was not given, with what to do; empty where nothing lacks."""
        return ""

    def earlier(self) -> tuple[str, ...]:
        """Ids of steps before it in its recipe whose networks it reads, beside the bundle that it is given."""
        return ()

    def folders(self) -> tuple[Path, ...]:
        """Folders of photos beside the run's own that the step reads; their photos count in the key of its result."""
        return ()

    def labelled(self) -> tuple[Path, ...]:
        """As `folders`, where the photos' labels, splits and groups are read as well, and count too."""
        return ()


class Progress(Protocol):
    """Where a step tells how far it is. Shown as bars on a terminal, and nowhere else."""

    def start(self, what: str, total: int) -> None:
        """A new stretch of work of `total` units begins."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """`units` more are done; `note` replaces the text behind the bar."""

    def finish(self) -> None:
        """The stretch is done."""


class Silent:
    """A progress that shows nothing."""

    def start(self, what: str, total: int) -> None:
        """Nothing is shown."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Nothing is shown."""

    def finish(self) -> None:
        """Nothing is shown."""


@dataclass
class Context:
    """What surrounds a step: the only source of seeds, photos, scratch space and progress.

    `scratch` is empty at the start of the step and deleted after it. `resume` survives a killed process and is deleted
    once the step's result is stored: a long step keeps its own checkpoints there. `data` is where the photos lie.
    """

    seed: int
    scratch: Path
    resume: Path
    cache: Path
    data: Path | None = None
    progress: Progress = field(default_factory=Silent)
    details: dict[str, Any] = field(default_factory=dict)
    whole: Context | None = None
    """The context that this one is a part of."""
    earlier: Mapping[str, Path] = field(default_factory=dict)
    """Where the results of the recipe's steps before this one are stored, by id; empty where it runs by itself."""
    opened: set[str] = field(default_factory=set)
    """Splits whose photos were read so far."""
    asked: str = ""
    """What the step was asked for: its name and the settings that are not its defaults."""
    epoch_shift: int = 0
    """Added to the number of an epoch wherever random numbers are drawn.

    A step that trains once has 0. Parts have numbers of their own, those of another step others than these: else each
    would begin with the same photos in the same cuts as the one before it.
    """

    def part(self, name: str) -> Context:
        """The context of a part of this step's work, with folders of its own; what it records stands under `parts`.

        A step that trains several times gives each training a part: their checkpoints then do not meet.
        """
        scratch, resume = self.scratch / name, self.resume / name
        for folder in (scratch, resume):
            folder.mkdir(parents=True, exist_ok=True)
        details = self.details.setdefault("parts", {}).setdefault(name, {})
        digest = hashlib.sha256(f"{self.asked} {self.epoch_shift} {name}".encode()).digest()
        shift = int.from_bytes(digest[:4], "big") // 2  # with an epoch added still below 2^32, as seeds must be
        return replace(self, scratch=scratch, resume=resume, details=details, whole=self, epoch_shift=shift)

    def record(self, key: str, value: Any) -> None:
        """Keeps a fact (JSON) in the step's report: a curve, a choice, a warning. Never a claim of success."""
        self.details[key] = value

    def warn(self, message: str) -> None:
        """Logs a warning, each but once, and keeps it in the report, where the ladder and the page show it."""
        if self.whole is not None:
            self.whole.warn(message)
            return
        told = self.details.setdefault("warnings", [])
        if message not in told:
            log.warning(message)
            told.append(message)

    def photos_root(self) -> Path:
        """Where the photos lie.

        Raises:
            RequestError: this run was given no photos.
        """
        if self.data is None:
            raise RequestError("This step reads photos, and none were given.", "Add --data FOLDER.")
        return self.data


StepFunction = Callable[[Bundle, Any, Context], Bundle]


@dataclass(frozen=True)
class Step:
    """A declared step: its name, config type, function, and what it needs and provides."""

    name: str
    config: type[StepConfig]
    function: StepFunction
    needs: frozenset[str]
    provides: frozenset[str]
    summary: str
    reads_test: bool


@dataclass(frozen=True)
class StepEntry:
    """A step as seen from outside its file, without importing it."""

    name: str
    room: str
    module: str
    summary: str


def step(
    *, needs: tuple[str, ...] = (), provides: tuple[str, ...] = (), reads_test: bool = False
) -> Callable[[StepFunction], StepFunction]:
    """Declares the function below it as the step of its file.

    `needs` and `provides` are the words of `Bundle.provides` ('splits', 'network', 'export:int8' ...); a recipe in
    which a step needs what no earlier one provides is refused before anything runs. `reads_test` marks the steps that
    open the test split; the executor takes their row from metrics.json rather than measuring on validation photos.
    """

    def declare(function: StepFunction) -> StepFunction:
        function.__featherlite_step__ = (frozenset(needs), frozenset(provides), reads_test)  # type: ignore[attr-defined]
        return function

    return declare


@cache
def steps() -> Mapping[str, StepEntry]:
    """Every step there is, by name, in the order of the road. Reads source files; imports none of them."""
    package = Path(__file__).parent
    found: dict[str, StepEntry] = {}
    for room in ROOMS:
        for file in sorted((package / room).glob("*.py")):
            text = file.read_text("utf-8")
            if "\n@step(" in text:
                summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
                found[file.stem] = StepEntry(file.stem, room, f"featherlite.{room}.{file.stem}", summary)
    return found


@cache
def load_step(name: str) -> Step:
    """The step of that name, imported.

    Raises:
        RequestError: there is none; the nearest known name is suggested.
    """
    entry = steps().get(name)
    if entry is None:
        raise RequestError(f"There is no step '{name}'.", did_you_mean(name, steps()))
    module = importlib.import_module(entry.module)
    functions = [value for _, value in _functions(module) if hasattr(value, "__featherlite_step__")]
    if len(functions) != 1:
        raise TypeError(f"{entry.module} must declare exactly one @step function, found {len(functions)}")
    function = functions[0]
    needs, provides, reads_test = function.__featherlite_step__
    hints = list(get_type_hints(function).values())
    if len(hints) != 4 or hints[0] is not Bundle or hints[2] is not Context or hints[3] is not Bundle:
        raise TypeError(f"{entry.module}: a step is a function (Bundle, Config, Context) -> Bundle")
    return Step(name, hints[1], function, needs, provides, entry.summary, reads_test)


def _functions(module: Any) -> Iterator[tuple[str, Any]]:
    for name, value in inspect.getmembers(module, inspect.isfunction):
        if value.__module__ == module.__name__:
            yield name, value
