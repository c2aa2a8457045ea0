"""What the steps share that pack the int8 artefact for someone else's tools."""

from __future__ import annotations

from collections.abc import Mapping

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, ExportError
from featherlite.models.artefact import PACKED
from featherlite.models.export_facts import export_facts, refused_by_tflm
from featherlite.runtime.flatbuffer import ArtefactFacts, OpFacts, contract_fault, inspect

__all__ = ["artefact_to_pack", "with_package"]


def artefact_to_pack(bundle: Bundle) -> tuple[bytes, ArtefactFacts]:
    """The bundle's int8 artefact and what is inside.

    Raises:
        BundleError: it is damaged, breaks featherlite's contract, or does not fit the bundle's labels.
        ExportError: TensorFlow Lite Micro lacks an operation of it, or does not have it in int8.
    """
    data = bundle.read(f"exports/{PACKED}/model.tflite")
    facts = inspect(data)
    fault = contract_fault(facts)
    if fault is None and facts.input.dtype != "int8":
        fault = f"it takes {facts.input.dtype} instead of int8"
    if fault is None and facts.output.shape[1] != len(bundle.labels):
        fault = f"it has {facts.output.shape[1]} outputs for {len(bundle.labels)} labels"
    if fault is None and any(_has_scales(facts, op) for op in facts.ops):
        raise BundleError(
            f"exports/{PACKED} cannot be packed: an earlier version gave a dense layer a scale for each output, and "
            "many a library for boards takes the first for all.",
            "Run the step 'quantize' again, and before it 'quantize_aware' where the network was trained for int8.",
        )
    if fault:
        raise BundleError(f"exports/{PACKED} cannot be packed: {fault}.", "Run the step 'quantize' again.")
    if refused := refused_by_tflm(export_facts(bundle, PACKED)):
        raise ExportError(f"TensorFlow Lite Micro does not run exports/{PACKED}: {refused}")
    return data, facts


def _has_scales(facts: ArtefactFacts, op: OpFacts) -> bool:
    """Whether an operation is a dense layer's with more than one scale, as earlier versions quantized them."""
    kernel = op.inputs[1] if len(op.inputs) > 1 else -1
    return op.name == "FULLY_CONNECTED" and kernel >= 0 and facts.tensors[kernel].channels > 1


def with_package(bundle: Bundle, name: str, files: Mapping[str, bytes]) -> Bundle:
    """A new bundle in which exports/`name` holds these files and no others."""
    kept = {file: source for file, source in bundle.files.items() if not file.startswith(f"exports/{name}/")}
    former = type(bundle)(kept, bundle.subject, bundle.id or bundle.parent)
    return former.with_files({f"exports/{name}/{file}": content for file, content in files.items()})
