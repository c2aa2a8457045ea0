"""metrics.json and verify.json as typed values, so that a missing part is a missing part and never a crash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from featherlite.bundle import Bundle, parse
from featherlite.history import Estimate
from featherlite.runtime.order import speaking_order

__all__ = [
    "RUNTIME_NAMES",
    "ClassScore",
    "ExportCheck",
    "Mistake",
    "RuntimeCheck",
    "Scores",
    "read_checks",
    "read_scores",
    "spoken_check",
]

RUNTIME_NAMES = {
    "keras": "Keras network, float32",
    "litert": "LiteRT, default kernels",
    "litert_reference": "LiteRT, reference kernels",
    "tflm": "TensorFlow Lite Micro",
}
"""What each runtime is called on the page; others are shown by their own name."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Verdict(_Document):
    split: str = "test"
    exports: tuple[dict[str, Any], ...] = ()


class Interval(_Document):
    """A value with the bounds of its 95% interval."""

    value: float
    low: float | None = None
    high: float | None = None


class ClassScore(_Document):
    """How one class fared on one split."""

    label: str
    n: int = Field(ge=0)
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


class Mistake(_Document):
    """One photo that was answered wrongly, with the probability given to the wrong answer."""

    path: str
    label: str
    predicted: str
    probability: float


class Scores(_Document):
    """What metrics.json says about one split."""

    n: int
    split_hash: str | None = None
    reads: int = 1
    subject: str = "network"
    top1: Estimate | None = None
    top5: Estimate | None = None
    macro_f1: Interval | None = None
    per_class: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    mistakes: tuple[Mistake, ...] = ()


class OpCount(_Document):
    """One kind of operation in an artefact."""

    op: str
    count: int


class RuntimeCheck(_Document):
    """What one runtime made of the photos: its score, its agreement with the network, its largest differences.

    `max_lsb` is the distance of an int8 artefact's outputs from LiteRT's reference kernels, `max_lsb_network` that of
    its logits from the float network's; both in steps of the output.
    """

    top1: Estimate | None = None
    agreement: float | None = None
    max_lsb: float | None = None
    max_lsb_network: float | None = None


class ExportCheck(_Document):
    """What verify.json says about one artefact."""

    name: str
    bytes: int = Field(ge=0)
    split: str = "test"
    int8_only: bool | None = None
    not_int8: tuple[Any, ...] = ()
    arena_bytes: int | None = None
    ops: tuple[OpCount, ...] = ()
    input: dict[str, Any] = Field(default_factory=dict)
    runtimes: dict[str, RuntimeCheck] = Field(default_factory=dict)
    bounds: dict[str, Any] = Field(default_factory=dict)
    passed: bool = False
    failures: tuple[str, ...] = ()

    @property
    def top1(self) -> Estimate | None:
        """The score that counts as the artefact's own: of integers the microcontroller's, or that of equal kernels."""
        scored = (self.runtimes[name].top1 for name in speaking_order(self.name) if name in self.runtimes)
        found = next((top1 for top1 in scored if top1), None)
        return found.model_copy(update={"split": found.split or self.split}) if found else None


def read_scores(bundle: Bundle, split: str) -> Scores | None:
    """What was measured on one split; None where nothing was.

    Raises:
        BundleError: metrics.json does not hold what it should.
    """
    value = bundle.metrics.get(split)
    return None if value is None else parse(Scores, value, "metrics.json")


def read_checks(verify: Mapping[str, Any] | None) -> tuple[ExportCheck, ...]:
    """The verified artefacts of a verify.json document, in its order; empty where nothing was verified.

    Raises:
        BundleError: the document does not hold what it should.
    """
    if verify is None:
        return ()
    verdict = parse(_Verdict, verify, "verify.json")
    return tuple(parse(ExportCheck, {"split": verdict.split} | entry, "verify.json") for entry in verdict.exports)


def spoken_check(checks: tuple[ExportCheck, ...], subject: str | None) -> ExportCheck | None:
    """The artefact that speaks for the bundle, its `subject`; the last one where that is the network or not known."""
    named = [check for check in checks if check.name == subject]
    return named[-1] if named else checks[-1] if checks else None
