"""What a bundle weighs and scores: the measure behind each row of the ladder."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from featherlite.bundle import Bundle, parse
from featherlite.errors import BundleError, DataError, ExportError
from featherlite.evaluate.metrics import scores, top_k_hits
from featherlite.history import Estimate, Measure, wilson
from featherlite.models.export_facts import export_facts

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet
    from featherlite.runtime.flatbuffer import TensorFacts
    from featherlite.runtime.interpreter import Runtime
    from featherlite.step import Progress

__all__ = [
    "artefact_bytes",
    "artefact_raw",
    "cores",
    "dequantized",
    "known_reads",
    "measure",
    "measure_verified",
    "predict_logits",
    "with_scores",
]

CHUNK = 1024
"""Photos handed to an artefact at once: bounds the memory; a microcontroller's process is started once for each."""


class _Part(BaseModel):
    """Those entries of a document that are read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Scored(_Part):
    top1: Estimate
    top5: Estimate


class _TFLM(_Part):
    runs: bool = False


class _Weight(_Part):
    parameters: int
    macs: int
    activation_bytes: int | None = None
    dtype: str = ""
    tflm: _TFLM = _TFLM()


class _Check(_Part):
    name: str
    arena_bytes: int | None = None


class _Verdict(_Part):
    exports: tuple[_Check, ...] = ()


def predict_logits(
    bundle: Bundle, photos: PhotoSet, subject: str, progress: Progress | None = None
) -> NDArray[np.float32]:
    """The logits of the network (subject 'network') or of an export in LiteRT: float32 [n, classes].

    Raises:
        BundleError: the bundle has no such export.
    """
    if subject == "network":
        from featherlite.models.logits import network_logits
        from featherlite.models.network import load_network

        return network_logits(load_network(bundle), photos.images, progress.advance if progress else None)
    from featherlite.runtime.interpreter import open_runtime

    runtime = open_runtime("litert", artefact_bytes(bundle, subject), threads=cores())
    return dequantized(artefact_raw(runtime, photos, progress), runtime.facts.output)


def artefact_raw(runtime: Runtime, photos: PhotoSet, progress: Progress | None = None) -> NDArray[Any]:
    """What an artefact puts out for all photos in one runtime: int8 or float32 [n, classes]."""
    parts = []
    for start in range(0, max(len(photos.labels), 1), CHUNK):
        pixels = np.asarray(photos.images[start : start + CHUNK])
        parts.append(runtime.run_raw(pixels))
        if progress is not None:
            progress.advance(len(pixels))
    return np.concatenate(parts)


def dequantized(raw: NDArray[Any], output: TensorFacts) -> NDArray[np.float32]:
    """Logits from what an artefact puts out: float32 [n, classes]."""
    if output.scale is None or output.zero_point is None:
        return raw.astype(np.float32, copy=False)
    return (raw.astype(np.float32) - np.float32(output.zero_point)) * np.float32(output.scale)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def artefact_bytes(bundle: Bundle, name: str) -> bytes:
    """The .tflite of an export.

    Raises:
        BundleError: there is no such export.
    """
    if name not in bundle.exports:
        held = ", ".join(bundle.exports) or "none"
        raise BundleError(f"The bundle has no export '{name}'; it has: {held}.", "Run the step 'quantize' or 'export'.")
    return bundle.read(f"exports/{name}/model.tflite")


def measure(bundle: Bundle, photos: PhotoSet | None) -> Measure:
    """What speaks for the bundle (its subject), weighed, and scored on the photos where there are any."""
    if photos is None or not len(photos.labels):
        return _measure(bundle, bundle.subject, None, None)
    logits = predict_logits(bundle, photos, bundle.subject)
    top1, top5 = (wilson(top_k_hits(logits, photos.labels, k), len(photos.labels), photos.split) for k in (1, 5))
    return _measure(bundle, bundle.subject, top1, top5)


def with_scores(bundle: Bundle, photos: PhotoSet, logits: NDArray[np.float32], subject: str) -> Bundle:
    """The bundle in which metrics.json holds the scores of these logits under the photos' split.

    `reads` counts how often the split was opened for this bundle; of the test split, also by runs of which the bundle
    holds nothing.
    """
    from featherlite.data.splits import read_splits

    metrics = bundle.metrics
    reads = known_reads(bundle) if photos.split == "test" else int(metrics.get(photos.split, {}).get("reads", 0))
    metrics[photos.split] = scores(
        logits,
        photos.labels,
        [label.name for label in bundle.labels],
        photos.paths,
        split=photos.split,
        split_hash=read_splits(bundle).hash,
        subject=subject,
        reads=reads + 1,
    )
    return bundle.with_json("metrics.json", metrics)


def known_reads(bundle: Bundle) -> int:
    """How often the test split was opened for this bundle, on this machine also by runs whose results lie elsewhere."""
    elsewhere = bundle.local().get("test_reads")
    former = bundle.history[-1].test_reads if bundle.history else 0
    scored = int(bundle.metrics.get("test", {}).get("reads", 0))
    return max(scored, former, elsewhere if isinstance(elsewhere, int) else 0)


def measure_verified(bundle: Bundle, former: Bundle | None = None) -> Measure:
    """The bundle's subject, weighed, and scored as metrics.json says: on test photos, else on validation photos.

    A score that `former` does not have goes first: it is the one of the step that made this bundle of it.

    Raises:
        DataError: metrics.json holds no score of the subject.
        BundleError: metrics.json does not hold what it should.
    """
    metrics, known = bundle.metrics, former.metrics if former else {}
    for split in sorted(("test", "val"), key=lambda split: metrics.get(split) == known.get(split)):
        if metrics.get(split, {}).get("subject") == bundle.subject:
            scored = parse(_Scored, metrics[split], "metrics.json")
            return _measure(bundle, bundle.subject, scored.top1, scored.top5)
    raise DataError(f"metrics.json has no score of '{bundle.subject}'.", "Run the step 'evaluate'.")


def _measure(bundle: Bundle, subject: str, top1: Estimate | None, top5: Estimate | None) -> Measure:
    weighed = _network_weight(bundle) if subject == "network" else _export_weight(bundle, subject)
    preprocess = bundle.preprocess
    return Measure(
        subject=subject,
        input_px=max(preprocess.width, preprocess.height),
        classes=len(bundle.labels),
        top1=top1,
        top5=top5,
        **weighed,
    )


def _network_weight(bundle: Bundle) -> dict[str, int]:
    from featherlite.models.activation_peak import activation_peak
    from featherlite.models.network import count_macs, count_parameters, float32_bytes, load_network

    model = load_network(bundle)
    return {
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "bytes": float32_bytes(model),
        "activation_bytes": activation_peak(model),
    }


def _export_weight(bundle: Bundle, name: str) -> dict[str, int | None]:
    data = artefact_bytes(bundle, name)
    weight = parse(_Weight, export_facts(bundle, name), f"exports/{name}/export.json")
    verdict = parse(_Verdict, bundle.read_json("verify.json"), "verify.json") if "verify.json" in bundle else _Verdict()
    arena = next((check.arena_bytes for check in verdict.exports if check.name == name), None)
    return {
        "parameters": weight.parameters,
        "macs": weight.macs,
        "bytes": len(data),
        "arena_bytes": arena if arena is not None else _arena(data, weight),
        "activation_bytes": weight.activation_bytes,
    }


def _arena(data: bytes, weight: _Weight) -> int | None:
    """What TensorFlow Lite Micro needs for the artefact, by computing one photo; None where it does not, or is absent.

    Whether it computes right is for `verify` to say.
    """
    from featherlite.runtime.interpreter import TFLMRuntime
    from featherlite.runtime.order import INTEGERS

    if weight.dtype not in INTEGERS or not weight.tflm.runs or find_spec("tflite_micro") is None:
        return None
    try:
        return TFLMRuntime(data).arena_bytes
    except ExportError:
        return None
