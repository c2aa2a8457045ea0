"""What every teacher is: classes, an input size, and an answer to photos."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featherlite.preprocess import Preprocess

__all__ = ["Answer", "Teacher", "TeacherFacts"]


class Answer(NamedTuple):
    """A teacher's word on photos: logits float32 [n, its classes] and features float32 [n, d], d = 0 where none."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class TeacherFacts:
    """What is known of a teacher before it answers.

    `name` is what the user called it; `identity` is the hash of all that its answers depend on; `features` is their
    number, 0 where they cannot be read; `preprocess` is how it wants its own photos.
    """

    name: str
    identity: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    parameters: int
    features: int


class Teacher(ABC):
    """A classifier that answers photos."""

    def __init__(self, facts: TeacherFacts) -> None:
        self.facts = facts

    @abstractmethod
    def answer(self, photos: NDArray[np.float32]) -> Answer:
        """Its word on photos float32 [n, height, width, 3] in -1..127/128, at its own size.

        Raises:
            ExportError: it failed.
        """
