"""One artefact held against its network: on each runtime, by its golden vectors, and by what it consists of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.evaluate.metrics import paired_loss, ranking
from featherlite.history import wilson

__all__ = [
    "Bounds",
    "Comparison",
    "budget_failures",
    "compare",
    "frame_failures",
    "golden_failures",
    "identity_failures",
    "remedy",
]

BUDGETS = ("flash", "arena")
"""What a device has a fixed amount of."""

FRAMES = "golden frames"
"""What a device is to make its inputs from, where the preprocessing reduces noise or stretches levels."""

UNRUN = "runtimes"
"""What an artefact fails that none of the runtimes asked for can run."""

UNABLE = "TensorFlow Lite Micro"
"""What an artefact fails that this runtime has no kernels for."""

MADE = "files"
"""What an artefact fails that is not what the bundle says of it."""

_SMALLER = "Build a smaller network (build.input_px, build.width, build.cut), or shrink it further."
_HINTS = dict.fromkeys(BUDGETS, _SMALLER) | {
    FRAMES: "Quantize or export again: its golden vectors were made with another preprocessing.",
    UNRUN: "Add 'litert' to verify.runtimes, which runs every artefact.",
    UNABLE: "Replace what it lacks (swap_activation, build.pool), or leave 'tflm' out of verify.runtimes.",
    MADE: "Quantize or export again: the artefact is not of this bundle as it is now.",
}
"""What to do, by the cause that a failure begins with."""

FLOAT_TOLERANCE = 1e-3
"""How far a float artefact may be from its golden vectors, as a share of their range: processors differ in rounding."""


@dataclass(frozen=True)
class Bounds:
    """What a runtime may differ by; see VerifyConfig."""

    max_lsb: int
    max_lsb_default: int
    min_agreement: float
    max_loss: float

    def lsb_of(self, runtime: str) -> int:
        """The bound on the difference in steps of the output, by runtime."""
        return self.max_lsb if runtime in ("litert_reference", "tflm") else self.max_lsb_default


@dataclass(frozen=True)
class Comparison:
    """One runtime's row, as verify.json holds it, and what it failed."""

    row: dict[str, Any]
    failures: list[str] = field(default_factory=list)


def compare(
    runtime: str,
    logits: NDArray[np.float32],
    network: NDArray[np.float32],
    labels: NDArray[np.int64],
    lsb: NDArray[np.float64] | None,
    step: float,
    bounds: Bounds,
    split: str | None = None,
) -> Comparison:
    """One runtime's logits float32 [n, classes] against the network's on the same photos.

    `lsb` is the difference to the reference kernels in steps of the output, [n, classes]; None where nothing was there
    to compare with. `step` is one such step in units of a logit, for the difference to the network.

    Agreement fails only where its whole 95% interval lies under the bound, and a loss only where it is more than
    chance: on the few photos of a small test split neither can be told from noise, and a bound that fails there would
    only teach people to switch it off.
    """
    n = len(labels)
    best, expected = ranking(logits, 1)[:, 0], ranking(network, 1)[:, 0]
    agreement = wilson(int((best == expected).sum()), n)
    loss, beyond_chance = paired_loss(expected == labels, best == labels)
    row: dict[str, Any] = {
        "top1": wilson(int((best == labels).sum()), n, split).model_dump(),
        "agreement": agreement.value,
        "max_lsb": None if lsb is None else _rounded(np.abs(lsb).max(initial=0.0)),
        "max_lsb_network": _rounded(np.abs(logits.astype(np.float64) - network).max(initial=0.0) / step),
        "loss": loss,
    }
    failures = []
    if lsb is not None and not row["max_lsb"] <= bounds.lsb_of(runtime):  # so that NaN fails
        beyond = ~(np.abs(lsb) <= bounds.lsb_of(runtime))
        failures.append(
            f"{runtime}: its outputs differ from the reference by up to {row['max_lsb']:g} LSB "
            f"(at most {bounds.lsb_of(runtime)} allowed; {int(beyond.any(axis=1).sum())} of {n} photos)"
        )
    if agreement.high < bounds.min_agreement:
        failures.append(
            f"{runtime}: gives the network's answer on {agreement.value:.1%} of {n} photos "
            f"(at least {bounds.min_agreement:.1%} needed)"
        )
    if loss > bounds.max_loss and beyond_chance:
        failures.append(
            f"{runtime}: loses {loss * 100:.1f} points of top-1 against the network "
            f"(at most {bounds.max_loss * 100:g} allowed, n = {n})"
        )
    return Comparison(row, failures)


def budget_failures(needed: Mapping[str, tuple[int | None, int | None]]) -> list[str]:
    """What does not fit the device: name -> (bytes needed, bytes there are), either None where it is not known."""
    return [
        f"{name}: needs {bytes_:,} bytes (at most {limit:,} allowed)"
        for name, (bytes_, limit) in needed.items()
        if bytes_ is not None and limit is not None and bytes_ > limit
    ]


def remedy(failures: Sequence[str]) -> str:
    """What to do about these failures of artefacts: sizes and answers have different remedies."""
    causes = [failure.partition(":")[0] for failure in failures]
    said = [hint for cause, hint in _HINTS.items() if cause in causes]
    if not all(cause in _HINTS for cause in causes):
        said.append("See which layers lose it (featherlite quantization), try quantize.ranges=mse, or quantize_aware.")
    return " ".join(dict.fromkeys(said))


def frame_failures(expected: NDArray[np.uint8], made: NDArray[np.uint8]) -> list[str]:
    """What is wrong with the inputs uint8 [n, h, w, 3] that preprocessing made of the golden frames; must be equal."""
    different = int((expected != made).any(axis=(1, 2, 3)).sum())
    return [f"{FRAMES}: preprocessing makes other inputs of {different} of {len(expected)}"] if different else []


def golden_failures(expected: NDArray[Any], answered: NDArray[Any]) -> list[str]:
    """What is wrong with the reference kernels' answers [n, classes] to the golden vectors; int8 must be equal."""
    if expected.shape != answered.shape or expected.dtype != answered.dtype:
        shapes = [f"{array.dtype} {list(array.shape)}" for array in (answered, expected)]
        return [f"golden vectors: {shapes[0]} instead of {shapes[1]}"]
    if expected.dtype == np.int8:
        different = int((expected != answered).any(axis=1).sum())
        return [f"golden vectors: {different} of {len(expected)} answered differently"] if different else []
    gap = float(np.abs(expected.astype(np.float64) - answered).max(initial=0.0))
    allowed = FLOAT_TOLERANCE * max(float(np.ptp(expected)), 1e-6)
    # Written so that an answer that is not a number fails.
    return [] if gap <= allowed else [f"golden vectors: differ by up to {gap:.3g} (at most {allowed:.3g} allowed)"]


def identity_failures(
    export: Mapping[str, Any], data: bytes, network: bytes, inside: Sequence[tuple[str, bytes | None, bytes]]
) -> list[str]:
    """What does not belong together: the artefact, the network it was made from, and the entries inside it.

    `inside` holds (name, content inside the artefact, content that the bundle has).
    """
    failures = []
    if export.get("sha256") != hashlib.sha256(data).hexdigest():
        failures.append(f"{MADE}: model.tflite is not the file that export.json describes")
    if export.get("network_sha256") != hashlib.sha256(network).hexdigest():
        failures.append(f"{MADE}: it was made from another network than the bundle's")
    for name, found, wanted in inside:
        if found is None:
            failures.append(f"{MADE}: it has no {name} inside")
        elif found != wanted:
            failures.append(f"{MADE}: the {name} inside it is not the bundle's")
    return failures


def _rounded(value: np.floating[Any] | float) -> float:
    return round(float(value), 3)
