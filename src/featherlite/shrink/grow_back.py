"""A larger network that answers as the one that came, and is then trained: wider by copies, deeper by idle blocks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from featherlite.models.surgery.channels import Channels

__all__ = ["GrowBackConfig", "grow_back"]

COPIES = 12
"""The stream of random numbers that picks the channels to copy."""
PHOTOS = 32
"""Photos on which the answers before and after are compared."""


class GrowBackConfig(RecoveryConfig):
    """How much wider and deeper the network becomes."""

    widen: float = Field(1.5, ge=1, le=8, description="what the widths are multiplied by; 1 leaves them")
    deepen: int = Field(0, ge=0, le=100, description="blocks to put in, spread over the depth, from the end")
    multiple: int = Field(8, ge=1, le=256, description="new widths are multiples of this")
    noise: float = Field(
        0.3,
        ge=0,
        le=10,
        description="how unevenly the copies of a channel share its weights, so that they learn different things; the "
        "unevenness cancels, whatever its size",
    )

    idle: ClassVar[Mapping[str, str]] = {**RecoveryConfig.idle, "max_drop": "a network that grows loses nothing"}

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> GrowBackConfig:
        if self.widen == 1 and not self.deepen:
            raise ValueError("nothing grows with widen = 1 and deepen = 0")
        for key in ("noise", "multiple"):
            if self.widen == 1 and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} does nothing here: widen is 1")
        return self


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def grow_back(bundle: Bundle, config: GrowBackConfig, ctx: Context) -> Bundle:
    """The bundle with its network grown, which changes no answer, and then trained."""
    from featherlite.models.network import load_network, network_bytes
    from featherlite.models.surgery.widths import cost_of

    network = load_network(bundle)
    ward = Ward.open(bundle, config, ctx)
    grown = reach(ctx, "grown", partial(_grown, network, config, ward.train.images[:PHOTOS]))
    before = ward.top1(network)
    trained = ward.recover(grown.network, grown.facts["touched"], ctx, "train")
    after = trained.facts["top1"]
    ctx.record(
        "grow_back",
        {
            "reference": before,
            "top1": after,
            "start": cost_of(network),
            "end": cost_of(grown.network),
            "widths": grown.facts["widths"],
            "kept": grown.facts["kept"],
            "blocks": grown.facts["blocks"],
            "largest_change": grown.facts["largest_change"],
        },
    )
    if config.epochs and before is not None and after is not None and after <= before:
        ctx.warn(f"Growing did not help: validation top-1 was {before:.3f} and is {after:.3f}. Train longer (epochs).")
    return bundle.with_network(network_bytes(trained.network))


def _grown(network: keras.Model, config: GrowBackConfig, images: Any, ctx: Context) -> Reached:
    """The larger network as it answers before it is trained; `facts` has what grew, and what did not and why.

    Raises:
        RequestError: nothing in the network can grow as asked.
    """
    import numpy as np

    from featherlite.models.logits import network_logits
    from featherlite.models.surgery.channels import channels_of, reindex
    from featherlite.models.surgery.deepen import deepened

    channels = channels_of(network)
    wanted, kept = wider(channels, config.widen, config.multiple)
    if not wanted and config.widen > 1:
        reasons = "; ".join(dict.fromkeys(kept.values())) or f"no width has another multiple of {config.multiple} near"
        told = f"'{network.name}' has no width that can grow by {config.widen:g} ({reasons})."
        if not config.deepen:
            raise RequestError(told, "Take a larger widen, a smaller multiple, or deepen.")
        ctx.warn(f"{told} It is made deeper alone.")
    sources = _sources(channels, wanted, np.random.default_rng([ctx.seed, COPIES]))
    grown = reindex(network, sources, noise=config.noise, seed=ctx.seed) if sources else network
    touched = channels.touched(sources)
    blocks: tuple[str, ...] = ()
    if config.deepen:
        grown, blocks = deepened(grown, config.deepen, ctx.seed)
    change = np.abs(network_logits(network, images) - network_logits(grown, images))
    facts = {
        "widths": {name: [channels.widths[name], width] for name, width in wanted.items()},
        "kept": kept,
        "blocks": blocks,
        "touched": sorted(touched | set(blocks)),
        "largest_change": float(change.max(initial=0.0)),
    }
    return Reached(grown, facts)


def wider(channels: Channels, factor: float, multiple: int) -> tuple[dict[str, int], dict[str, str]]:
    """The new width of each group that grows by the factor, to the nearest multiple; and of the others why not.

    By 1 none grows, not even to a multiple. Channels over which a layer normalizes only grow by whole factors: all of
    them have to be copied equally often.
    """
    if factor == 1:
        return {}, {}
    wanted = {name: round(width * factor / multiple) * multiple for name, width in channels.widths.items()}
    kept = channels.protected()
    for layer, layout in channels.even.items():
        for name in layout.groups:
            wanted[name] = channels.widths[name] * int(factor)
            if wanted[name] == channels.widths[name] or wanted[name] % multiple:
                kept.setdefault(name, f"'{layer}' normalizes over them: they grow by whole factors alone")
    while again := {
        name: f"'{layer}' normalizes over them and others that cannot grow"
        for layer, layout in channels.even.items()
        if kept.keys() & set(layout.groups)
        for name in layout.groups
        if name not in kept
    }:
        kept |= again
    return {name: new for name, new in wanted.items() if new > channels.widths[name] and name not in kept}, kept


def _sources(channels: Channels, wanted: dict[str, int], random: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """For each group the old channels and behind them copies: of all as often as it goes, of a random rest once."""
    import numpy as np

    sources = {}
    for name, width in wanted.items():
        every = np.arange(channels.widths[name])
        times, rest = divmod(width, len(every))
        sources[name] = np.concatenate([np.tile(every, times), random.permutation(every)[:rest]])
    return sources
