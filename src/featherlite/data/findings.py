"""What an audit finds: one issue is one fault of some photos, with a score, a sentence and a suggestion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = ["ACTIONS", "Action", "Issue"]

Action = Literal["drop", "relabel", "merge", "keep-together", "look"]
"""What a suggestion asks for.

drop: leave the targets out; relabel: give the targets the label `to`; merge: the class of the targets becomes `to`;
keep-together: split must not separate the paths, nothing else is needed; look: only a person can decide.
"""

ACTIONS: tuple[Action, ...] = get_args(Action)


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault. `paths` are all photos concerned, `targets` those of them that the suggested action is about.

    `score` lies in [0, 1]: how sure the check is that this is a fault, 1 being certain. For an issue about whole
    classes `paths` are empty and the message names the classes.
    """

    check: str
    paths: tuple[str, ...]
    score: float
    message: str
    action: Action = "look"
    targets: tuple[str, ...] = ()
    to: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"{self.check}: the score {self.score} lies outside 0..1")

    @property
    def suggestion(self) -> str:
        """The suggestion as a sentence's start: 'drop a/1.jpg', 'relabel as tulip', 'keep together in one split'."""
        some = self.targets[0] if len(self.targets) == 1 else f"{len(self.targets)} photos"
        match self.action:
            case "drop":
                return f"drop {some}"
            case "relabel":
                return f"relabel {some} as {self.to}"
            case "merge":
                return f"merge into {self.to}"
            case "keep-together":
                return "keep together in one split"
            case "look":
                return "look and decide"

    def to_json(self) -> dict[str, Any]:
        """The issue as plain data."""
        return {
            "check": self.check,
            "paths": list(self.paths),
            "score": round(self.score, 4),
            "message": self.message,
            "suggestion": self.suggestion,
            "action": self.action,
            "targets": list(self.targets),
            "to": self.to,
        }
