"""What a bundle weighs and scores: the measure behind each row of the ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, DataError
from featherlite.evaluate.metrics import top_k_hits
from featherlite.history import Estimate, Measure, wilson

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet
    from featherlite.step import Progress

__all__ = ["artefact_raw", "measure", "measure_verified", "predict_logits"]

CHUNK = 1024
"""Photos handed to an artefact at once: bounds the memory; a microcontroller's process is started once for each."""


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

        model = load_network(bundle)
        return network_logits(model, photos.images, progress.advance if progress else None)
    from featherlite.runtime.interpreter import open_runtime

    runtime = open_runtime("litert", artefact_bytes(bundle, subject))
    raw = artefact_raw(runtime, photos, progress)
    return runtime.logits(raw)


def artefact_raw(runtime: Any, photos: PhotoSet, progress: Progress | None = None) -> NDArray[Any]:
    """What an artefact puts out for all photos in one runtime: int8 or float32 [n, classes]."""
    parts = []
    for start in range(0, max(len(photos.labels), 1), CHUNK):
        pixels = np.asarray(photos.images[start : start + CHUNK])
        parts.append(runtime.run_raw(pixels))
        if progress is not None:
            progress.advance(len(pixels))
    return np.concatenate(parts)


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


def measure_verified(bundle: Bundle) -> Measure:
    """The bundle's subject, weighed, and scored as metrics.json says: on test photos, else on validation photos.

    Raises:
        DataError: metrics.json holds no score of the subject.
    """
    for split in ("test", "val"):
        entry = bundle.metrics.get(split)
        if entry and entry["subject"] == bundle.subject:
            top1, top5 = (Estimate.model_validate(entry[key]) for key in ("top1", "top5"))
            return _measure(bundle, bundle.subject, top1, top5)
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
    from featherlite.models.network import count_macs, count_parameters, float32_bytes, load_network

    model = load_network(bundle)
    return {"parameters": count_parameters(model), "macs": count_macs(model), "bytes": float32_bytes(model)}


def _export_weight(bundle: Bundle, name: str) -> dict[str, int | None]:
    size = len(artefact_bytes(bundle, name))
    facts = bundle.read_json(f"exports/{name}/export.json")
    checks = bundle.read_json("verify.json")["exports"] if "verify.json" in bundle else []
    arena = next((check["arena_bytes"] for check in checks if check["name"] == name), None)
    return {"parameters": facts["parameters"], "macs": facts["macs"], "bytes": size, "arena_bytes": arena}
