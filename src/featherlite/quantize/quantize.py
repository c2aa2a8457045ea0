"""An int8 artefact of the network, quantized after training; int8 in and out, the input exactly `pixel - 128`."""

from __future__ import annotations

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.step import Context, StepConfig, step


class QuantizeConfig(StepConfig):
    """How the ranges of the activations are measured."""

    photos: int = Field(300, ge=1, le=100_000)
    """training photos in the representative set"""
    seed: int | None = Field(None, ge=0)
    """draws the representative set; the run's own seed by default"""
    plan_memory: bool = True
    """give TensorFlow Lite Micro a memory plan where that saves arena; not for files that Vela compiles"""


@step(needs=("splits", "network", "labels", "preprocess"), provides=("export:int8",))
def quantize(bundle: Bundle, config: QuantizeConfig, ctx: Context) -> Bundle:
    """The bundle with exports/int8, which from now on speaks for it."""
    from featherlite.models.artefact import add_export
    from featherlite.quantize.representative import representative_set

    representative = representative_set(bundle, config.photos, ctx.seed if config.seed is None else config.seed, ctx)
    facts = representative.facts()
    ctx.record("representative", {key: facts[key] for key in ("n", "seed", "hash")})
    exported = add_export(
        bundle, "int8", ctx, representative.photos, {"representative": facts}, plan_memory=config.plan_memory
    )
    return exported.with_files({}, subject="int8")
