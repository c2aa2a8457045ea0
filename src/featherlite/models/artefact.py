"""A LiteRT artefact of a bundle's network, put into the bundle with all that proves it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import Bundle
from featherlite.errors import ExportError
from featherlite.models.convert import ArtefactType, convert
from featherlite.models.memory_plan import activation_bytes
from featherlite.models.tflm import refusal
from featherlite.runtime.flatbuffer import ArtefactFacts, TensorFacts, inspect
from featherlite.step import Context

__all__ = [
    "LABELS",
    "PACKED",
    "PREPROCESS",
    "Made",
    "Making",
    "add_export",
    "labels_text",
    "make",
    "ops_of",
    "tensor_document",
]

LABELS: Final = "labels.txt"
PREPROCESS: Final = "preprocess.json"
"""Names of the two entries inside the artefact, and of the same two files beside it."""

PACKED: Final = "int8"
"""The export that is packed for other people's tools."""

_CONVERTERS: Final = ("tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert")


@dataclass(frozen=True)
class Making:
    """How an artefact is made of a bundle's network.

    `representative` is uint8 [n, height, width, 3] (int8 and int16x8 need it); `network` is a .keras file to convert in
    the place of the bundle's own, of which it is a variant; `kernels` and `ranges` as in `convert`, `plan_memory` as in
    `slim`.
    """

    representative: NDArray[np.uint8] | None = None
    network: bytes | None = None
    kernels: Literal["channel", "tensor"] = "channel"
    ranges: Mapping[str, tuple[float, float]] | None = None
    plan_memory: bool = True


@dataclass(frozen=True)
class Made:
    """A .tflite with all that belongs inside.

    `refused` is why TensorFlow Lite Micro does not run it (empty where it does); `absent` as in `Converted`.
    """

    data: bytes
    refused: str = ""
    absent: tuple[str, ...] = ()


def make(bundle: Bundle, name: ArtefactType, ctx: Context, making: Making | None = None) -> Made:
    """The artefact of the bundle's network.

    Raises:
        ExportError: the network cannot be written in this format, or does not fit the bundle's labels.
    """
    from featherlite.models.network import load_network
    from featherlite.models.slim import slim

    making = making or Making()
    inside = {LABELS: labels_text(bundle), PREPROCESS: bundle.preprocess.model_dump_json().encode()}
    _check_fit(bundle, load_network(bundle))
    source, target = ctx.scratch / f"{name}.keras", ctx.scratch / f"{name}.tflite"
    source.write_bytes(making.network or bundle.read("model.keras"))
    ctx.progress.start(f"converting to {name}", 1)
    converted = convert(source, target, name, making.representative, kernels=making.kernels, ranges=making.ranges)
    ctx.progress.advance()
    ctx.progress.finish()
    return Made(slim(target.read_bytes(), inside, plan_memory=making.plan_memory), refusal(converted), converted.absent)


def add_export(
    bundle: Bundle,
    name: ArtefactType,
    ctx: Context,
    making: Making | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    made: Made | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """The bundle with exports/<name>: model.tflite, export.json, golden.npz, labels.txt and preprocess.json.

    `facts` are added to export.json and `files` to the folder; `made` is the artefact where it was made already. What
    was found about a former export of that name is left out, and so is a verdict on all: neither is about the new one.

    Raises:
        ExportError: the network cannot be written in this format, or does not fit the bundle's labels.
    """
    from featherlite.models.network import count_macs, count_parameters, load_network

    original = bundle.read("model.keras")
    model = load_network(bundle)
    made = made or make(bundle, name, ctx, making)
    data = made.data
    artefact = inspect(data)
    document = {
        "name": name,
        "dtype": name,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "network_sha256": hashlib.sha256(original).hexdigest(),
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "activation_bytes": activation_bytes(artefact),
        "input": tensor_document(artefact.input),
        "output": tensor_document(artefact.output),
        "ops": ops_of(artefact),
        "converter": _converter_versions(),
        "tflm": {"runs": not made.refused, "why": made.refused},
        **(facts or {}),
    }
    written: dict[str, Path | bytes] = {
        "model.tflite": data,
        "export.json": (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(),
        "golden.npz": _golden(bundle, model, data),
        LABELS: labels_text(bundle),
        PREPROCESS: bundle.preprocess.model_dump_json().encode(),
        **(files or {}),
    }
    added = _without_findings(bundle, name).with_files(
        {f"exports/{name}/{file}": content for file, content in written.items()}
    )
    # Nothing of a former export of this name stays: its ranges would be taken for the new one's.
    stale = {file for file in bundle.files if file.startswith(f"exports/{name}/")} - {
        f"exports/{name}/{file}" for file in written
    }
    # What was packed is of the former artefact of that name.
    packages = added.packed if name == PACKED else frozenset()
    kept = {file: content for file, content in added.files.items() if file not in stale | packages}
    return type(bundle)(kept, added.subject, added.parent)


def _without_findings(bundle: Bundle, name: str) -> Bundle:
    """The bundle without the verdict, and without scores and answers of the export `name`, which is to be replaced."""
    scored = {split: found for split, found in bundle.metrics.items() if found.get("subject") != name}
    # A file of answers holds those of several subjects; how often a split was read stands in the history.
    answers = {file for file in bundle.files if file.startswith("predictions/")} if name in bundle.exports else set()
    kept = {file: content for file, content in bundle.files.items() if file not in answers | {"verify.json"}}
    left = type(bundle)(kept, bundle.subject, bundle.id or bundle.parent)
    return left if scored == bundle.metrics else left.with_json("metrics.json", scored)


def labels_text(bundle: Bundle) -> bytes:
    """labels.txt: one class name a line, in the order of the outputs, UTF-8.

    Raises:
        ExportError: a name contains a line break.
    """
    names = [label.name for label in bundle.labels]
    broken = [name for name in names if name.splitlines() != [name]]
    if broken:
        raise ExportError(
            f"The class name {broken[0]!r} contains a line break; labels.txt has one name a line.",
            "Rename the folder of that class.",
        )
    return ("\n".join(names) + "\n").encode("utf-8")


def ops_of(artefact: ArtefactFacts) -> list[dict[str, Any]]:
    """The kinds of operations and how often each occurs, the most frequent first."""
    counted = sorted(artefact.op_counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"op": op, "count": count} for op, count in counted]


def tensor_document(tensor: TensorFacts) -> dict[str, Any]:
    """An input or output as export.json and verify.json describe it."""
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }


def _check_fit(bundle: Bundle, model: Any) -> None:
    """Refuses what an artefact could not be used with, before the minutes that a conversion may take."""
    wanted = (None, bundle.preprocess.height, bundle.preprocess.width, 3)
    if tuple(model.input_shape) != wanted:
        taken = "x".join(str(side) for side in model.input_shape[1:])
        needed = "x".join(str(side) for side in wanted[1:])
        raise ExportError(f"The network takes {taken} (height, width, channels), but preprocess.json makes {needed}.")
    if model.output_shape[-1] != len(bundle.labels):
        raise ExportError(f"The network has {model.output_shape[-1]} outputs for {len(bundle.labels)} labels.")
    for layer in model.layers:
        if not all(np.isfinite(weight).all() for weight in layer.get_weights()):
            raise ExportError(
                f"The layer '{layer.name}' has weights that are not finite.",
                "Train the network again; a lower rate or clip_norm keeps weights from growing without end.",
            )


def _golden(bundle: Bundle, model: Any, data: bytes) -> bytes:
    from featherlite.models.golden import Golden, draw_inputs, pack_golden
    from featherlite.models.logits import network_logits
    from featherlite.runtime.interpreter import open_runtime

    preprocess = bundle.preprocess
    frames = draw_inputs(preprocess.height, preprocess.width)
    # Without options the inputs are the frames themselves, which need not be stored twice.
    inputs = np.stack([preprocess.enhance(frame) for frame in frames])
    outputs = open_runtime("litert_reference", data).run_raw(inputs)
    before = frames if preprocess.version > 1 else None
    return pack_golden(Golden(inputs, outputs, network_logits(model, inputs), before))


def _converter_versions() -> dict[str, str]:
    found = {}
    for package in _CONVERTERS:
        try:
            # Local build tags (+cu12 ...) name a machine rather than the code.
            found[package] = re.sub(r"\+.*", "", version(package))
        except PackageNotFoundError:
            continue
    return found
