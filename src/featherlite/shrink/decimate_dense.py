"""Takes several dense layers down step by step until accuracy breaks, and returns the last good network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.shrink.units import UnitsConfig
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras

    from featherlite.shrink.recovery import Ward


class DecimateDenseConfig(UnitsConfig):
    """Which dense layers go down, how fast, and how far at most."""

    layers: tuple[str, ...] = Field(
        (), description="dense layers to take down; where none is named, all hidden ones on the pooled features"
    )
    factor: float = Field(0.5, gt=0, lt=1, description="share of each layer's units that a step leaves")
    min_units: int = Field(8, ge=1, le=65536, description="units below which no layer goes")
    max_steps: int = Field(0, ge=0, le=100, description="steps down at most; 0: as many as accuracy bears")


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def decimate_dense(bundle: Bundle, config: DecimateDenseConfig, ctx: Context) -> Bundle:
    """The bundle with the narrowest layers that held; as it came, with a warning, where not even one step did.

    Raises:
        RequestError: the network has no such hidden dense layers, or all are at `min_units` already.
    """
    from featherlite.models.network import count_parameters, load_network, network_bytes
    from featherlite.shrink.recovery import Ward

    network = load_network(bundle)
    names = _chosen(network, config.layers)
    if not _wanted(network, names, config):
        raise RequestError(
            f"None of the layers {', '.join(names)} has more than {config.min_units} units (min_units).",
            "Give a smaller min_units, or leave the step out.",
        )
    ward = Ward.open(bundle, config, ctx)
    if ward.val is None and not config.max_steps:
        raise RequestError(
            "Without validation photos nothing tells how far down accuracy bears.",
            "Set max_steps, or split with a share for val.",
        )
    reference = ward.top1(network)
    start: dict[str, Any] = {"units": _units(network, names), "parameters": count_parameters(network)}
    good, steps, why = network, [start | {"top1": reference}], ""
    while not why and (not config.max_steps or len(steps) <= config.max_steps):
        wanted = _wanted(good, names, config)
        if not wanted:
            break
        tried, facts = _step(ward, good, wanted, ctx, f"step-{len(steps)}")
        steps.append({"units": _units(tried, names), "parameters": count_parameters(tried)} | facts)
        why = ward.lost(facts["top1"], reference)
        good = good if why else tried
    taken = len(steps) - 1 - bool(why)
    ctx.record("decimate_dense", {"layers": list(names), "steps": steps, "taken": taken, "broke": bool(why)})
    if why:
        stays = f"step {taken} is kept" if taken else "the network stays as it came"
        ctx.warn(f"Step {taken + 1} down ({_listed(steps[-1]['units'])}) was undone: {why}; {stays}.")
    return bundle.with_network(network_bytes(good)) if taken else bundle


def _step(
    ward: Ward, network: keras.Model, wanted: dict[str, int], ctx: Context, name: str
) -> tuple[keras.Model, dict[str, Any]]:
    """The network one step further down, recovered, and what it reached."""
    from featherlite.models.surgery.dense import hidden_named
    from featherlite.shrink.selective import mend
    from featherlite.shrink.units import narrowed

    assert isinstance(ward.config, DecimateDenseConfig)
    changed: list[str] = []
    for layer, units in wanted.items():
        hidden = hidden_named(network, layer)
        network, _ = narrowed(network, hidden, units, ward.train.images, ward.config, ctx.seed)
        changed += [one for one in hidden.changed if one not in changed]
    cut = ward.top1(network)
    reached = mend(ward, network, changed, ctx, name)
    return reached.network, {"cut": cut, "top1": reached.facts["top1"]}


def _chosen(network: keras.Model, asked: Sequence[str]) -> tuple[str, ...]:
    from featherlite.models.surgery.dense import hidden_dense, hidden_named

    names = tuple(dict.fromkeys(hidden_named(network, name).name for name in asked)) or tuple(hidden_dense(network))
    if not names:
        raise RequestError(
            f"'{network.name}' has no hidden dense layer on its pooled features: nothing can be taken down.",
            "Build the network with head=dense, or name layers with layers=NAME.",
        )
    return names


def _units(network: keras.Model, names: Sequence[str]) -> dict[str, int]:
    return {name: int(network.get_layer(name).units) for name in names}


def _wanted(network: keras.Model, names: Sequence[str], config: DecimateDenseConfig) -> dict[str, int]:
    """How many units each layer is to have after the next step; only those that go down."""
    units = _units(network, names)
    next_ = {name: max(config.min_units, min(round(count * config.factor), count - 1)) for name, count in units.items()}
    return {name: next_[name] for name, count in units.items() if next_[name] < count}


def _listed(units: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in units.items())
