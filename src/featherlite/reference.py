"""Somebody else's ladder, to stand beside one's own: the figures that an article gives for the same course of steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["RUN_NOTE", "Reference", "ReferenceRow", "read_reference"]

RUN_NOTE = "run.json"
"""What a run's folder says of the run: its recipe, and with it the reference."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReferenceRow(_Table):
    """One figure of somebody else's: the step of ours that it belongs to, and what they have there."""

    step: str | None = Field(
        None, description="id of the step beside whose result it stands; not walked where there is none"
    )
    title: str = Field(min_length=1, max_length=60, description="what they call it")
    parameters: int | None = Field(None, ge=1)
    top1: float | None = Field(None, ge=0, le=1, description="of the network in float")
    int8_top1: float | None = Field(None, ge=0, le=1)


class Reference(_Table):
    """Somebody else's ladder: whose it is, how far it compares, and its rows in their order."""

    name: str = Field(min_length=1, max_length=60)
    note: str = Field("", max_length=600, description="what is not alike: photos, classes, split")
    rows: tuple[ReferenceRow, ...] = Field(min_length=1, max_length=200)


def read_reference(folder: Path) -> Reference | None:
    """The reference of the recipe that was run in a folder; None where there is none, or nothing that can be read."""
    try:
        note = json.loads((folder / RUN_NOTE).read_bytes())
    except (OSError, ValueError):
        return None
    recipe: Any = note.get("recipe") if isinstance(note, Mapping) else None
    found = recipe.get("reference") if isinstance(recipe, Mapping) else None
    try:
        return Reference.model_validate(found) if found is not None else None
    except ValidationError:
        return None
