"""A study whose trainings are made up: results of the real form, written without training anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.evaluate.answers import answers_of, write_answers
from featherlite.study.plan import Study, parse_study
from featherlite.study.result import ChangedError, Failure, Figures, Order, Result, read_result, write_result

CLASSES = ("a", "b", "c")


def document(**changes: Any) -> dict[str, Any]:
    """A study of three networks on two roads."""
    made = {
        "title": "Three networks",
        "steps": [{"step": "split", "val": 0.2, "test": 0.3}],
        "road": {
            "trained": [{"step": "build", "input_px": 32}, {"step": "train", "epochs": 2}],
            "frozen": [{"step": "build", "input_px": 48}, {"step": "train", "epochs": 0, "head_epochs": 1}],
        },
        "networks": [
            {"name": "feathernet", "road": "trained", "set": {"build.width": 0.5}},
            {"name": "MobileNetV1", "road": "trained", "set": {"build": {"backbone": "MobileNetV1", "width": 0.25}}},
            {"name": "V2 frozen", "road": "frozen", "set": {"build.backbone": "MobileNetV2"}},
        ],
    }
    return made | changes


@pytest.fixture
def study() -> Study:
    return parse_study(document(), "three")


def logits_of(hits: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right where `hits` says so, and the classes: photo i is of class i % 3."""
    labels = np.arange(len(hits)) % 3
    answers = np.where(hits, labels, (labels + 1) % 3)
    return np.eye(3, dtype=np.float32)[answers] * 4, labels


def made_answers(network: Sequence[bool], int8: Sequence[bool] | None = None, first: int = 0) -> bytes:
    """The answers of a training, the photos numbered from `first` on."""
    subjects = {"network": network} | ({} if int8 is None else {"int8": int8})
    paths = [f"{first + number:04d}.jpg" for number in range(len(network))]
    return write_answers({subject: answers_of(*logits_of(hits), CLASSES, paths) for subject, hits in subjects.items()})


def made_figures(answers: bytes, **changes: Any) -> Figures:
    """Figures of a network of 1000 parameters."""
    values = {
        "input_px": 32,
        "classes": 3,
        "parameters": 1000,
        "macs": 5000,
        "weight_bytes": {"float32": 4000, "float16": 2000, "int8": 1100},
        "file_bytes": {"float32": 5000, "float16": 3000, "int8": 2100},
        "train_seconds": 2.0,
        "from_scratch": False,
        "drawings": False,
        "notes": (),
        "answers_sha256": hashlib.sha256(answers).hexdigest(),
    }
    return Figures.model_validate(values | changes)


class MadeCrew:
    """Carries orders out by making up their results; `does` may raise, or return a failure's message.

    A ChangedError that it raises is left as the result, as a worker leaves it.
    """

    def __init__(self, does: Callable[[Order], str | None] = lambda order: None) -> None:
        self.orders: list[str] = []
        self.does = does

    def carry_out(self, crew: Any, order: Order) -> tuple[Result, bytes]:
        """Stands in for `Crew.carry_out`."""
        place = Path(order.out)
        self.orders.append("/".join(place.parts[-2:]) if order.measured else "shared")
        kind = "X"
        try:
            failure = self.does(order)
        except ChangedError as error:
            failure, kind = error.message, type(error).__name__
        (place / "bundle").mkdir(parents=True, exist_ok=True)
        (place / "bundle" / "bundle.json").touch()
        if failure is not None:
            write_result(place, Result(key=order.key, status="failed", failure=Failure(type=kind, message=failure)))
        elif not order.measured:
            write_result(place, Result(key=order.key, status="done"))
        else:
            hits = np.random.default_rng([order.seed, len(order.name)]).random(30) < 0.7
            answers = made_answers(list(hits), list(hits))
            write_result(place, Result(key=order.key, status="done", figures=made_figures(answers)), answers)
        found = read_result(place)
        assert found is not None
        return found
