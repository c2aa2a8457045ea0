"""An int8 artefact of the network, quantized after training; int8 in and out, the input exactly `pixel - 128`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.step import Context, StepConfig, step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class QuantizeConfig(StepConfig):
    """How the ranges of the activations are measured."""

    photos: int = Field(300, ge=1, le=100_000)
    """training photos in the representative set"""
    seed: int | None = Field(None, ge=0)
    """draws the representative set; the run's own seed by default"""
    correct: bool = True
    """round the kernels first and correct what that shifts, layer by layer"""
    plan_memory: bool = True
    """give TensorFlow Lite Micro a memory plan where that saves arena; not for files that Vela compiles"""


@step(needs=("splits", "network", "labels", "preprocess"), provides=("export:int8",))
def quantize(bundle: Bundle, config: QuantizeConfig, ctx: Context) -> Bundle:
    """The bundle with exports/int8, which from now on speaks for it."""
    from featherlite.models.artefact import add_export
    from featherlite.quantize.representative import representative_set

    representative = representative_set(bundle, config.photos, ctx.seed if config.seed is None else config.seed, ctx)
    facts = representative.facts()
    network = _corrected(bundle, representative.photos, ctx) if config.correct else None
    ctx.record("representative", {key: facts[key] for key in ("n", "seed", "hash")})
    exported = add_export(
        bundle,
        "int8",
        ctx,
        representative.photos,
        {"representative": facts, "corrected": config.correct},
        network=network,
        plan_memory=config.plan_memory,
    )
    return exported.with_files({}, subject="int8")


def _corrected(bundle: Bundle, photos: NDArray[np.uint8], ctx: Context) -> bytes:
    """The bundle's network with kernels on the int8 grid, corrected for what that shifts, as a .keras file."""
    from featherlite.models.network import load_network, network_bytes
    from featherlite.quantize.correction import correct

    network = load_network(bundle)
    ctx.progress.start("correcting", len(network.layers))
    ctx.record("corrected_layers", correct(network, photos, ctx.progress.advance))
    ctx.progress.finish()
    return network_bytes(network)
