"""Selective freezing: only the layers whose shape changed train at first, then the rest outward.

Where all of them stand in the head, what the frozen layers before it say of each photo is computed once: these epochs
then cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context

if TYPE_CHECKING:
    import keras

__all__ = ["SelectiveConfig", "mend", "settled", "train_alone"]


class SelectiveConfig(RecoveryConfig):
    """How a network is trained after a change of its dense layers."""

    changed_epochs: int = Field(
        10,
        ge=0,
        le=1000,
        description="epochs for the changed layers alone, by the labels, before the stages of recovery; 0 skips them",
    )
    changed_rate: float = Field(3e-3, gt=0, le=1, description="peak learning rate of these epochs")

    @model_validator(mode="after")
    def _rate_is_of_epochs(self) -> SelectiveConfig:
        if not self.changed_epochs and self.changed_rate != type(self).model_fields["changed_rate"].default:
            raise ValueError("changed_rate does nothing with changed_epochs = 0")
        return self


def mend(ward: Ward, network: keras.Model, changed: Collection[str], ctx: Context, name: str) -> Reached:
    """The network after the changed layers trained alone, then all others too, outward from them.

    `facts` has `top1` (validation; None without), `alone` (what the changed layers reached) and `stages`.
    """
    alone = train_alone(ward, network, changed, ctx, f"{name}-alone")
    outward = ward.recover(alone.network, changed, ctx, name)
    return Reached(outward.network, outward.facts | {"alone": alone.facts})


def train_alone(ward: Ward, network: keras.Model, layers: Collection[str], ctx: Context, name: str) -> Reached:
    """The network after `changed_epochs` in which only `layers` train, a milestone; as it came where that is 0.

    `facts` has `top1` and the `layers`.
    """
    settled(network, ctx.seed)
    if not _own(ward).changed_epochs:
        return Reached(network, {"top1": ward.top1(network), "layers": sorted(layers)})
    return reach(ctx, name, partial(_alone, ward, network, sorted(layers)))


def settled(network: keras.Model, seed: int) -> keras.Model:
    """The same network; its dropouts draw from the seed, so that a graph laid anew gives the same bytes each time."""
    from featherlite.training.phases import reseed

    reseed(network, seed, 0)
    return network


def _own(ward: Ward) -> SelectiveConfig:
    assert isinstance(ward.config, SelectiveConfig), "the ward of a step that freezes selectively"
    return ward.config


def _alone(ward: Ward, network: keras.Model, layers: Sequence[str], ctx: Context) -> Reached:
    from featherlite.training.features import HEAD
    from featherlite.training.fit import fit

    epochs, rate = _own(ward).changed_epochs, _own(ward).changed_rate
    if all(name.startswith(HEAD) for name in layers):
        course = {"head_epochs": epochs, "head_rate": rate, "epochs": 0}
    else:
        course = {"head_epochs": 0, "epochs": epochs, "rate": rate}
    alone = replace(ward, config=ward.config.model_copy(update=course))
    flags = [layer.trainable for layer in network.layers]
    for layer in network.layers:
        layer.trainable = layer.trainable and layer.name in layers
    try:
        result = fit(network, alone.train, alone.val, alone.config, ctx)
    finally:
        for layer, flag in zip(network.layers, flags, strict=True):
            layer.trainable = flag
    return Reached(network, {"top1": result.val_top1, "layers": list(layers)})
