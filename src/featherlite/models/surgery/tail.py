"""The tail of a network: what stands between its last blocks and its head, where it may be cut, and made narrower.

Published backbones end with a convolution that widens the map before it is pooled (EfficientNet's 1,280 filters): a
large share of all parameters, laid out for a thousand classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.contract import cut_points
from featherlite.models.surgery.blocks import HEAD
from featherlite.models.surgery.rebuild import Change, edges, rebuild
from featherlite.models.surgery.refit import outputs_of

__all__ = [
    "Tail",
    "block_ends",
    "cut_behind",
    "filter_worth",
    "readers",
    "reshaped",
    "sliced",
    "tail_of",
    "with_filters",
]


@dataclass(frozen=True)
class Tail:
    """Where a backbone ends."""

    end: str
    """The layer whose output the head takes."""
    top: str
    """The convolution that makes that map, with nothing but norms and activations behind it; empty where none does."""
    chain: tuple[str, ...]
    """The layers behind it, up to and with the end."""
    cuts: tuple[str, ...]
    """The layers before all of these after which the network may be cut, from input to output."""


def tail_of(network: keras.Model) -> Tail:
    """The tail of a network.

    Raises:
        RequestError: it has neither a head nor a global pooling that the map ends in.
    """
    sources: dict[str, list[Any]] = {}
    consumers: dict[str, list[str]] = {}
    for source, target in edges(network):
        sources.setdefault(target.name, []).append(source)
        consumers.setdefault(source.name, []).append(target.name)
    first = next((one for one in network.operations if one.name.startswith(HEAD)), None)
    first = first or next((one for one in network.operations if _is_pooling(one)), None)
    if first is None or not sources.get(first.name):
        raise RequestError(f"'{network.name}' has no head: no layer is called {HEAD}... and none pools its map.")
    end = layer = sources[first.name][0]
    chain: list[str] = []
    while isinstance(layer, _PASSING) and (layer is end or len(consumers[layer.name]) == 1):
        chain.insert(0, layer.name)
        layer = sources[layer.name][0]
    alone = layer is end or len(consumers[layer.name]) == 1
    is_top = isinstance(layer, keras.layers.Conv2D) and not _is_depthwise(layer) and layer.groups == 1 and alone
    order = [one.name for one in network.operations]
    before = set(order[: order.index(layer.name if is_top else end.name)])
    cuts = tuple(name for name in cut_points(network) if name in before)
    return Tail(end.name, layer.name if is_top else "", tuple(chain) if is_top else (), cuts)


def block_ends(network: keras.Model, tail: Tail) -> tuple[str, ...]:
    """Those of the cut points that end whole blocks, from input to output; the last block's own end is none.

    Where blocks end in sums and linear bottlenecks, the activations within them do not count.
    """
    ends = [name for name in tail.cuts if not isinstance(network.get_layer(name), _ACTIVATIONS)] or list(tail.cuts)
    feeders = {source.name for source, target in edges(network) if target.name == tail.top}
    return tuple(name for name in ends if name not in feeders)


def cut_behind(network: keras.Model, after: str, *, keep_top: bool) -> keras.Model:
    """A new network in which the top convolution (or the head, without one) takes what the layer `after` makes.

    Layers whose input has other channels than before keep their outputs' number; their kernels are zero, to be fitted.

    Raises:
        RequestError: it may not be cut there (the message lists where it may), or what follows the cut holds weights
            that cannot be fitted.
    """
    tail = tail_of(network)
    if after not in tail.cuts:
        raise RequestError(f"'{network.name}' cannot be cut after '{after}'.", f"It can after: {', '.join(tail.cuts)}.")
    made: dict[str, Any] = {}

    def keep(layer: Any, inputs: Any) -> Any:
        made["map"] = layer(inputs)
        return made["map"]

    place = tail.top if keep_top and tail.top else tail.end
    joined: Change = lambda layer, _inputs: layer(made["map"]) if place == tail.top else made["map"]  # noqa: E731
    cut = rebuild(network, {after: keep, place: joined})
    for name in reshaped(network, cut):
        _refuse_unfit(layer := cut.get_layer(name))
        kernel, *bias = layer.get_weights()
        layer.set_weights([np.zeros_like(kernel), *network.get_layer(name).get_weights()[1:][: len(bias)]])
    return cut


def with_filters(network: keras.Model, kept: Sequence[int] | NDArray[np.int64]) -> keras.Model:
    """A new network whose top convolution has these filters alone; its readers lose the inputs that are gone.

    Raises:
        RequestError: there is no top convolution, or a layer behind it has weights that do not go by channel.
    """
    tail, numbers = tail_of(network), np.asarray(kept, dtype=np.int64)
    if not tail.top:
        raise RequestError(f"'{network.name}' has no convolution of its own before its head.")
    filters = int(network.get_layer(tail.top).filters)
    weights = {tail.top: [weight[..., numbers] for weight in network.get_layer(tail.top).get_weights()]}
    for name in tail.chain:
        values = network.get_layer(name).get_weights()
        if any(value.shape != (filters,) for value in values):
            raise RequestError(f"The layer '{name}' behind '{tail.top}' cannot be narrowed.")
        if values:
            weights[name] = [value[numbers] for value in values]
    for name in readers(network, tail.end):
        _refuse_unfit(network.get_layer(name))
        kernel, *rest = network.get_layer(name).get_weights()
        weights[name] = [sliced(kernel, filters, numbers), *rest]

    def narrow(layer: Any, inputs: Any) -> Any:
        return type(layer).from_config(layer.get_config() | {"filters": len(numbers)})(inputs)

    return rebuild(network, {tail.top: narrow}, weights=weights)


def filter_worth(network: keras.Model, images: Any, by: Literal["contribution", "magnitude"]) -> NDArray[np.float64]:
    """What each filter of the top convolution is worth: float64 [filters], larger for what matters more.

    contribution: how much its mean over the map varies from photo to photo, times the length of the weights that read
    it. magnitude: the sum of its kernel's absolute weights, times the scale that a BatchNorm behind gives it.
    Source of the latter: H. Li et al., "Pruning Filters for Efficient ConvNets" (arXiv:1608.08710), section 3.1.
    """
    tail = tail_of(network)
    top = network.get_layer(tail.top)
    if by == "magnitude":
        worth = np.abs(top.get_weights()[0]).sum(axis=(0, 1, 2), dtype=np.float64)
        for layer in (network.get_layer(name) for name in tail.chain):
            if isinstance(layer, keras.layers.BatchNormalization):
                gamma = 1.0 if layer.gamma is None else np.abs(np.asarray(layer.gamma))
                worth = worth * gamma / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
        return np.asarray(worth, dtype=np.float64)
    means = outputs_of(network, network.get_layer(tail.end).output, images).mean(axis=(1, 2), dtype=np.float64)
    read = np.zeros(top.filters)
    for name in readers(network, tail.end):
        _refuse_unfit(network.get_layer(name))
        kernel = network.get_layer(name).get_weights()[0]
        squares = np.square(kernel, dtype=np.float64).sum(axis=-1).reshape(-1, top.filters)
        read += squares.sum(axis=0)
    return np.asarray(means.std(axis=0) * np.sqrt(read))


def readers(network: keras.Model, end: str) -> tuple[str, ...]:
    """The layers with weights that read the map a layer makes, with none between: the head's first."""
    consumers: dict[str, list[Any]] = {}
    for source, target in edges(network):
        consumers.setdefault(source.name, []).append(target)
    found, pending, seen = [], [end], {end}
    while pending:
        for target in consumers.get(pending.pop(), []):
            if target.name in seen:
                continue
            seen.add(target.name)
            if getattr(target, "weights", ()) and not isinstance(target, keras.layers.Dropout):
                found.append(target.name)
            else:
                pending.append(target.name)
    order = [layer.name for layer in network.layers]
    return tuple(sorted(found, key=order.index))


def sliced(kernel: NDArray[Any], channels: int, kept: NDArray[np.int64]) -> NDArray[Any]:
    """A reader's kernel, [..., inputs, units], with the inputs of these channels alone; a flattened map has several."""
    inputs, units = kernel.shape[-2:]
    parts = kernel.reshape(*kernel.shape[:-2], inputs // channels, channels, units)[..., kept, :]
    return parts.reshape(*kernel.shape[:-2], -1, units)


def reshaped(old: keras.Model, new: keras.Model) -> set[str]:
    """The layers that both networks have, whose weights are of other shapes in the new one."""
    former = {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in old.layers}
    return {
        layer.name
        for layer in new.layers
        if layer.name in former and former[layer.name] != [tuple(weight.shape) for weight in layer.weights]
    }


_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU)
_PASSING = (*_ACTIVATIONS, keras.layers.BatchNormalization, keras.layers.Dropout)


def _refuse_unfit(layer: Any) -> None:
    plain = isinstance(layer, keras.layers.Dense) or (
        isinstance(layer, keras.layers.Conv2D) and not _is_depthwise(layer) and layer.groups == 1
    )
    if not plain:
        raise RequestError(
            f"The layer '{layer.name}' ({type(layer).__name__}) would take other channels than before, and only dense "
            "layers and ordinary convolutions can be fitted to them.",
            "Cut elsewhere, or use prune_channels.",
        )


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.SeparableConv2D)


def _is_pooling(operation: Any) -> bool:
    layers = keras.layers
    return isinstance(operation, layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D | layers.Flatten)
