"""The int8 artefact as C source for a microcontroller: the bytes, what goes in and out, the operations to register."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.errors import ExportError
from featherlite.step import Context, StepConfig, step

PACKAGE = "c-array"


class CArrayConfig(StepConfig):
    """How the C source is called."""

    name: str = Field("model", pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40)
    """what all names in the source begin with, so that two networks fit into one program"""
    suffix: Literal["c", "cc", "cpp"] = "c"
    """ending of the file with the bytes; its text is C and C++ alike"""


@step(needs=("export:int8", "labels", "preprocess"))
def c_array(bundle: Bundle, config: CArrayConfig, ctx: Context) -> Bundle:
    """The bundle with exports/c-array: NAME_data.h, NAME_data.c and, for TensorFlow Lite Micro, NAME_register_ops.h.

    Raises:
        ExportError: TensorFlow Lite Micro lacks an operation of the artefact, or does not have it in int8.
        BundleError: the artefact is damaged, or breaks featherlite's contract.
    """
    from featherlite.export.arena import arena_of
    from featherlite.export.c_source import CNetwork, data_header, data_source, resolver_header
    from featherlite.export.packing import artefact_to_pack, with_package
    from featherlite.models.artefact import PACKED

    data, facts = artefact_to_pack(bundle)
    if refused := bundle.read_json(f"exports/{PACKED}/export.json").get("tflm", {}).get("why"):
        raise ExportError(f"TensorFlow Lite Micro does not run exports/{PACKED}: {refused}", "Then quantize again.")
    arena = arena_of(bundle, PACKED, facts)
    if not arena.measured:
        ctx.warn("The arena size in the C header is an estimate; after the step 'verify' it is the measured one.")
    labels = [label.name for label in bundle.labels]
    network = CNetwork(config.name, data, facts, labels, bundle.preprocess, arena)
    texts = {
        f"{config.name}_data.h": data_header(network),
        f"{config.name}_data.{config.suffix}": data_source(network),
        f"{config.name}_register_ops.h": resolver_header(network),
    }
    ctx.record("c_array", {"files": sorted(texts), "arena_bytes": arena.bytes, "arena_measured": arena.measured})
    return with_package(bundle, PACKAGE, {file: text.encode("ascii") for file, text in texts.items()})
