"""The error tree: every failure that a user can cause or mend has a class, a clear line and a next move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar

__all__ = [
    "BundleError",
    "DataError",
    "ExportError",
    "FeatherliteError",
    "MissingExtraError",
    "RecipeError",
    "RequestError",
    "StoppedError",
    "StorageError",
    "TrainingError",
    "UnexpectedError",
    "VerificationError",
    "did_you_mean",
]


class FeatherliteError(Exception):
    """Base of all featherlite errors.

    `message` says what was wrong, the value and what is allowed; `hint` says what to do next. `exit_code` is what the
    command line ends with: 2 for a wrong request, 1 for work that was done but failed its own checks.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = {}
        """What the failing step had recorded by then (the executor fills it in)."""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_json(self) -> dict[str, str]:
        """The error as the `errors` document of the command line: type, message, hint."""
        return {"type": type(self).__name__, "message": self.message, "hint": self.hint}


class RequestError(FeatherliteError):
    """A command, option or argument cannot be carried out as asked."""


class RecipeError(RequestError):
    """A recipe has faults; all of them are listed in `faults`, one line each."""

    def __init__(self, where: str, faults: Sequence[str], hint: str = "") -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__(f"{where}: {count}\n" + "\n".join(f"  - {fault}" for fault in self.faults), hint)


class DataError(RequestError):
    """The photos or their labels cannot be used as they are."""


class BundleError(RequestError):
    """A bundle (or an artefact in it) is damaged, foreign, unsafe or of an unknown version."""


class MissingExtraError(RequestError):
    """A feature needs packages that the base install leaves out."""

    def __init__(self, extra: str, what: str) -> None:
        self.extra = extra
        super().__init__(
            f"{what} needs the extra '{extra}', which is not installed.",
            f"Install it with: pip install 'featherlite[{extra}]', or pip install '.[{extra}]' in a checkout.",
        )


class StorageError(RequestError):
    """A folder cannot be written, its disk is full, or a file cannot be opened. What was stored before is intact."""


class TrainingError(FeatherliteError):
    """Training cannot go on (a loss that is not a number, for example); the last good weights are kept."""

    exit_code = 1


class ExportError(FeatherliteError):
    """A network cannot be written in the asked format, or an artefact cannot run."""

    exit_code = 1


class VerificationError(FeatherliteError):
    """An artefact disagrees with its network beyond the stated bound."""

    exit_code = 1


class StoppedError(FeatherliteError):
    """The user stopped the work."""

    exit_code = 130


class UnexpectedError(FeatherliteError):
    """Something that featherlite should have foreseen, told without a trace."""

    exit_code = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a hint sentence, else the list of what is known."""
    names = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{folded[near[0]]}'?"
    return f"Known: {', '.join(names)}." if names else ""
