"""Puts a narrow layer before a dense one where that saves weights, begun as the best approximation of its kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.errors import RequestError, did_you_mean
from featherlite.shrink.selective import SelectiveConfig
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras


class BottleneckDenseConfig(SelectiveConfig):
    """Before which dense layer, and how narrow."""

    layer: str = Field(
        "", description="dense layer to put it before; where none is named, the one where most weights are saved"
    )
    units: int = Field(32, ge=1, le=65536, description="units of the narrow layer")


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def bottleneck_dense(bundle: Bundle, config: BottleneckDenseConfig, ctx: Context) -> Bundle:
    """The bundle with the narrow layer; as it came, with a warning, where that costs more than `max_drop`.

    Raises:
        RequestError: there is no such dense layer, or a narrow layer of that size would save no weights.
    """
    from featherlite.models.network import count_parameters, load_network, network_bytes
    from featherlite.models.surgery.bottleneck import kept_share, with_bottleneck
    from featherlite.shrink.recovery import Ward
    from featherlite.shrink.selective import mend, settled

    network = load_network(bundle)
    dense = _chosen(network, config)
    ward = Ward.open(bundle, config, ctx)
    reference = ward.top1(network)
    changed, narrow = with_bottleneck(network, dense.name, config.units)
    cut = ward.top1(settled(changed, ctx.seed))
    reached = mend(ward, changed, (narrow, dense.name), ctx, "narrow")
    why = ward.lost(reached.facts["top1"], reference)
    facts: dict[str, Any] = {"layer": dense.name, "added": narrow, "units": config.units, "taken": not why}
    facts["kept_share"] = round(kept_share(dense, config.units), 6)
    facts["parameters"] = [count_parameters(network), count_parameters(network if why else reached.network)]
    facts["top1"] = {"before": reference, "cut": cut, "after": reached.facts["top1"]}
    ctx.record("bottleneck_dense", facts | {"recovery": reached.facts})
    if why:
        ctx.warn(f"With {config.units} units before '{dense.name}' {why}: the network stays as it came.")
        return bundle
    return bundle.with_network(network_bytes(reached.network))


def _chosen(network: keras.Model, config: BottleneckDenseConfig) -> keras.layers.Dense:
    """The layer that is named, or on pooled features the one where most is saved."""
    import keras

    from featherlite.models.surgery.bottleneck import most_units, saved_by

    found = {layer.name: layer for layer in network.layers if isinstance(layer, keras.layers.Dense)}
    if config.layer and config.layer not in found:
        raise RequestError(f"'{network.name}' has no dense layer '{config.layer}'.", did_you_mean(config.layer, found))
    if config.layer:
        dense = found[config.layer]
    else:
        pooled = [layer for layer in found.values() if len(layer.output.shape) == 2]
        if not pooled:
            raise RequestError(f"'{network.name}' has no dense layer on its pooled features.", "Name one with layer.")
        saving = [layer for layer in pooled if saved_by(layer, config.units) > 0]
        dense = max(saving or pooled, key=lambda layer: saved_by(layer, config.units if saving else 0))
    saved, most = saved_by(dense, config.units), most_units(dense)
    if saved <= 0:
        inputs, outputs = (int(size) for size in dense.kernel.shape)
        raise RequestError(
            f"{config.units} units before '{dense.name}' ({inputs} x {outputs}) save nothing: {-saved} weights more.",
            f"Give at most {most}." if most else "The layer is too small for a narrow one before it.",
        )
    return dense
