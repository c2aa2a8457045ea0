"""The int8 artefact as C source for a microcontroller: the bytes, what goes in and out, the operations to register."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from featherlite.bundle import Bundle
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
    """The bundle with exports/c-array: NAME_data.h, NAME_data.c, NAME_golden.h, and NAME_register_ops.h for TFLM.

    Raises:
        ExportError: TensorFlow Lite Micro lacks an operation of the artefact, or does not have it in int8.
        BundleError: the artefact is damaged, or breaks featherlite's contract.
    """
    from featherlite.export.arena import arena_of
    from featherlite.export.c_source import CNetwork, data_header, data_source, golden_header, resolver_header
    from featherlite.export.packing import artefact_to_pack, with_package
    from featherlite.models.artefact import PACKED
    from featherlite.models.golden import read_golden

    data, facts = artefact_to_pack(bundle)
    arena = arena_of(bundle, PACKED, facts)
    if not arena.measured:
        ctx.warn("The arena size in the C header is an estimate; after the step 'verify' it is the measured one.")
    labels = [label.name for label in bundle.labels]
    network = CNetwork(config.name, data, facts, labels, bundle.preprocess, arena)
    where = f"exports/{PACKED}/golden.npz"
    golden = read_golden(bundle.read(where), where)
    texts = {
        f"{config.name}_data.h": data_header(network),
        f"{config.name}_data.{config.suffix}": data_source(network),
        # The last of the drawn inputs: of all colors and of no symmetry.
        f"{config.name}_golden.h": golden_header(network, golden.inputs[-1], golden.outputs[-1]),
        f"{config.name}_register_ops.h": resolver_header(network),
    }
    ctx.record("c_array", {"files": sorted(texts), "arena_bytes": arena.bytes, "arena_measured": arena.measured})
    return with_package(bundle, PACKAGE, {file: text.encode("ascii") for file, text in texts.items()})
