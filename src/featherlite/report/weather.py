"""What robustness.json says, as a page shows it: a heat table of corruptions by severity, and one photo under each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from featherlite.bundle import NETWORK, Bundle, parse
from featherlite.errors import RequestError
from featherlite.history import Estimate
from featherlite.report.thumbnails import Thumbnails, without_places

__all__ = ["weather_view"]

FILE = "robustness.json"
FAMILY_NAMES = {"train": "Training may use these", "held_out": "Held out: never used in training"}
SHADES = (0.05, 0.1, 0.2, 0.4)
"""Points lost from which a cell gets the next deeper shade."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Score(_Document):
    severity: int = Field(ge=1, le=5)
    top1: Estimate
    drop: float
    beyond_chance: bool


class _Entry(_Document):
    name: str
    family: str
    summary: str = ""
    trained_on: bool = False
    scores: tuple[_Score, ...]
    mean: float
    example_answer: str | None = None


class _Family(_Document):
    corruptions: int
    mean: Estimate
    drop: float


class _Example(_Document):
    path: str
    label: str
    severity: int = Field(ge=1, le=5)


class _Robustness(_Document):
    split: str
    split_photos: int
    n: int
    subject: str
    model: str
    seed: int = Field(ge=0)
    severities: tuple[int, ...]
    clean: Estimate
    families: dict[str, _Family]
    corruptions: tuple[_Entry, ...]
    example: _Example


def weather_view(bundle: Bundle, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """The section 'In bad weather'; None where nothing was measured, or where it was measured on another model.

    Raises:
        BundleError: robustness.json does not hold what it should.
    """
    if FILE not in bundle:
        return None
    found = parse(_Robustness, bundle.read_json(FILE), FILE)
    if found.model != _model_of(bundle, found.subject):
        return None
    groups = [_group(found, family) for family in FAMILY_NAMES]
    return {
        "found": found,
        "split": "validation" if found.split == "val" else found.split,
        "groups": [group for group in groups if group["rows"]],
        "trained_on": sum(entry.trained_on for entry in found.corruptions if entry.family == "train"),
        "spoilt": [_title(entry) for entry in found.corruptions if entry.trained_on and entry.family == "held_out"],
        "example": _example(found, bundle, thumbnails),
        "root": bool(thumbnails),
    }


def _model_of(bundle: Bundle, subject: str) -> str | None:
    """sha256 of the file that was measured, as it is now; a figure of a former network says nothing of this one."""
    name = NETWORK if subject == "network" else f"exports/{subject}/model.tflite"
    return hashlib.sha256(bundle.read(name)).hexdigest() if name in bundle else None


def _title(entry: _Entry) -> str:
    return entry.name.replace("_", " ")


def _group(found: _Robustness, family: str) -> dict[str, Any]:
    entries = sorted((entry for entry in found.corruptions if entry.family == family), key=lambda entry: entry.mean)
    rows = [
        {
            "name": _title(entry),
            "summary": entry.summary,
            "mean": entry.mean,
            "trained_on": entry.trained_on,
            "cells": _cells(entry.scores, found.severities),
        }
        for entry in entries
    ]
    counted = [score for entry in entries if family == "train" or not entry.trained_on for score in entry.scores]
    means = [_mean([score.top1.value for score in counted if score.severity == at]) for at in found.severities]
    return {
        "family": family,
        "title": FAMILY_NAMES[family],
        "rows": rows,
        "mean": found.families.get(family),
        "means": means,
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _cells(scores: Sequence[_Score], severities: Sequence[int]) -> list[dict[str, Any] | None]:
    by_severity = {score.severity: score for score in scores}
    return [
        {"score": by_severity[severity], "shade": _shade(by_severity[severity])} if severity in by_severity else None
        for severity in severities
    ]


def _shade(score: _Score) -> int:
    """0 where the loss may be chance, then 1..5 by the points lost."""
    return 1 + sum(score.drop >= bound for bound in SHADES) if score.beyond_chance and score.drop > 0 else 0


def _example(found: _Robustness, bundle: Bundle, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """One photo as the network gets it, clean and under each corruption, with the answers; None without the photo."""
    from featherlite.data.corrupt import corrupted_input, load_corruption

    photo = thumbnails.photo(found.example.path) if "preprocess.json" in bundle else None
    if photo is None:
        return None
    plain = bundle.preprocess.plain(photo)
    images = [{"name": "clean", "image": _shown(bundle.preprocess(photo), thumbnails), "answer": None}]
    for entry in found.corruptions:
        try:
            one = load_corruption(entry.name)
        except RequestError:  # measured by a version that had it
            continue
        made = corrupted_input(plain, one, found.example.severity, found.seed, bundle.preprocess)
        images.append({"name": _title(entry), "image": _shown(made, thumbnails), "answer": entry.example_answer})
    return {"images": [entry for entry in images if entry["image"]], "path": without_places(found.example.path)}


def _shown(pixels: np.ndarray[Any, np.dtype[np.uint8]], thumbnails: Thumbnails) -> str | None:
    return thumbnails.of_image(Image.fromarray(pixels))
