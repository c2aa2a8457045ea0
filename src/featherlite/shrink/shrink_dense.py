"""Narrows a hidden dense layer; the units that matter keep their weights, and only what changed trains at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.shrink.units import UnitsConfig
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras

    from featherlite.models.surgery.dense import HiddenDense


class ShrinkDenseConfig(UnitsConfig):
    """Which hidden dense layer gets how many units."""

    layer: str = Field("", description="dense layer to narrow; where none is named, the one that most weights hang on")
    units: int | None = Field(None, ge=1, le=65536, description="units that stay; replaces factor")
    factor: float = Field(0.5, gt=0, lt=1, description="share of the units that stays, where no units are given")

    @model_validator(mode="after")
    def _one_size(self) -> ShrinkDenseConfig:
        if self.units is not None and self.factor != type(self).model_fields["factor"].default:
            raise ValueError("units and factor both say how many units stay: give one of them")
        return self


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def shrink_dense(bundle: Bundle, config: ShrinkDenseConfig, ctx: Context) -> Bundle:
    """The bundle with the layer narrowed; as it came, with a warning, where that costs more than `max_drop`.

    Raises:
        RequestError: the network has no such hidden dense layer, or it has no more units than are to stay.
    """
    from featherlite.models.network import count_parameters, load_network, network_bytes
    from featherlite.shrink.recovery import Ward
    from featherlite.shrink.selective import mend
    from featherlite.shrink.units import narrowed

    network = load_network(bundle)
    hidden = _chosen(network, config.layer)
    units = max(1, round(hidden.units * config.factor)) if config.units is None else config.units
    if units >= hidden.units:
        raise RequestError(
            f"'{hidden.name}' has {hidden.units} units; {units} are to stay.", f"Give less than {hidden.units}."
        )
    ward = Ward.open(bundle, config, ctx)
    reference = ward.top1(network)
    changed, facts = narrowed(network, hidden, units, ward.train.images, config, ctx.seed)
    cut = ward.top1(changed)
    reached = mend(ward, changed, hidden.changed, ctx, "narrow")
    why = ward.lost(reached.facts["top1"], reference)
    ctx.record(
        "shrink_dense",
        facts
        | {"layer": hidden.name, "units": [hidden.units, units], "changed": list(hidden.changed), "taken": not why}
        | {"parameters": [count_parameters(network), count_parameters(network if why else reached.network)]}
        | {"top1": {"before": reference, "cut": cut, "after": reached.facts["top1"]}, "recovery": reached.facts},
    )
    if why:
        ctx.warn(f"With {units} of {hidden.units} units in '{hidden.name}' {why}: the network stays as it came.")
        return bundle
    return bundle.with_network(network_bytes(reached.network))


def _chosen(network: keras.Model, name: str) -> HiddenDense:
    from featherlite.models.surgery.dense import hidden_dense, hidden_named

    if name:
        return hidden_named(network, name)
    found = hidden_dense(network)
    if not found:
        raise RequestError(
            f"'{network.name}' has no hidden dense layer on its pooled features: nothing can be narrowed.",
            "Build the network with head=dense, or name a layer with layer=NAME.",
        )
    return max(found.values(), key=lambda hidden: hidden.parameters)
