"""What the executor measured: intervals, measures and one report a step. The rows of the ladder."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = ["Estimate", "Measure", "StepReport", "wilson", "wilson_interval"]


class Estimate(BaseModel):
    """A proportion with its 95% interval and the number of photos behind it; all in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int
    split: str | None = Field(None, description="the split it was measured on")

    @property
    def photos(self) -> tuple[str | None, int]:
        """What tells sets of photos apart, of which alone scores compare: a split, and how many of it were scored."""
        return self.split, self.n

    def beats_guessing(self, classes: int) -> bool:
        """Whether it is surely more than naming one of so many classes at random gets right on average.

        Surely: the whole interval lies above. A margin on top, as a multiple of the share, would ask for three photos
        in four of two classes; and where the classes are of unequal size, only their photos could tell how much more
        than this a network reaches that always names the commonest.
        """
        return self.low > 1 / max(1, classes)


def wilson(hits: int, n: int, split: str | None = None) -> Estimate:
    """The share `hits / n` with its 95% Wilson score interval, which stays honest for small n and near 0 or 1.

    Raises:
        ValueError: n is not positive or hits is outside 0..n.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if n <= 0 or not 0 <= hits <= n:
        raise ValueError(f"hits {hits} of n {n}: n must be positive and hits within 0..n")
    low, high = wilson_interval(hits / n, n)
    return Estimate(value=hits / n, low=low, high=high, n=n, split=split)


def wilson_interval(share: float, n: float, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval (low, high) around a share in [0, 1] that `n` photos, or as many as a fraction, stand behind."""
    denominator = 1 + z * z / n
    center = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    low = 0.0 if share == 0 else max(0.0, center - half)
    return low, 1.0 if share == 1 else min(1.0, center + half)


class Measure(BaseModel):
    """What a bundle weighs and scores at one moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(description="what was measured: 'network', or the name of an export")
    input_px: int = Field(description="longer input side in pixels")
    classes: int
    parameters: int
    macs: int = Field(description="multiply-accumulates for one photo")
    bytes: int = Field(description="float32 weights of a network; the file of an export")
    top1: Estimate | None = Field(None, description="absent where there was no photo to measure on")
    top5: Estimate | None = None
    arena_bytes: int | None = Field(None, description="TensorFlow Lite Micro's working memory")
    activation_bytes: int | None = Field(
        None, description="activations in memory at the worst time, of a network as if in int8: the arena's lower bound"
    )


class StepReport(BaseModel):
    """One finished step, as the executor recorded it; one line of history.jsonl and one row of the ladder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    id: str = Field(description="the step's name within its recipe; differs from `step` where one occurs twice")
    key: str = Field(description="hash of (parent, config, data, code) under which the result is stored")
    config: dict[str, JsonValue]
    seed: int
    code: str = Field(description="featherlite's version and the hash of its source")
    started: str = Field(description="UTC, ISO 8601")
    seconds: float = Field(description="of work on it, those of killed processes that it went on from included")
    status: Literal["done"] = "done"
    before: Measure | None = None
    after: Measure | None = None
    test_reads: int = Field(0, description="how often the test split had been opened by the end of this step")
    details: dict[str, Any] = Field(
        default_factory=dict, description="what the step recorded: curves, choices, warnings"
    )
