"""What the tests of distillation share beside their fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from featherlite.bundle import Bundle
from featherlite.step import Context
from featherlite.training.distill import DistillConfig, distill
from featherlite.training.teachers.classroom import Classroom

QUICK = {"head_epochs": 0, "epochs": 2, "batch": 12, "rate": 0.01, "views": 2, "ema": "none"}
MakeContext = Callable[[], Context]


def taught(student: Bundle, ctx: Context, **options: Any) -> Bundle:
    return distill(student, DistillConfig.model_validate(QUICK | options), ctx)


def word_of(room: Classroom) -> dict[str, Any]:
    """What the teachers want of the first six photos under the second view."""
    return dict(room.teaching().targets(np.arange(6), 1))
