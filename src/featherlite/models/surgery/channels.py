"""Channels that must go together: which layers make, carry and use each of them, anywhere in a functional graph.

A *group* is what one list of numbers can narrow or widen: the outputs of every layer that a sum, a product or a
depthwise convolution ties together. `flow` says how channels pass each kind of layer, `reindex` takes them away or
doubles them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError, did_you_mean
from featherlite.models.surgery.flow import follow
from featherlite.models.surgery.layout import Layout
from featherlite.models.surgery.rebuild import Change, held, rebuild

__all__ = ["Channels", "Group", "Layout", "channels_of", "reindex"]

Floats = NDArray[np.floating]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Channels that can only change together, named after the first layer that makes them.

    `makers` are the layers whose kernels make them, `users` those whose kernels take them in. `protected` says why
    they cannot change; empty where they can.
    """

    name: str
    width: int
    makers: tuple[str, ...]
    users: tuple[str, ...]
    protected: str = ""


@dataclass(frozen=True)
class Channels:
    """The groups of a network by name, in its order, and by layer which of them come in and go out.

    Layers over which nothing is known are in neither mapping; the groups that meet them are protected. `even` has what
    comes into the layers that normalize over all channels: what these answer for one depends on all.
    """

    groups: Mapping[str, Group]
    inputs: Mapping[str, Layout]
    outputs: Mapping[str, Layout]
    even: Mapping[str, Layout]

    @property
    def widths(self) -> dict[str, int]:
        """The width of every group."""
        return {name: group.width for name, group in self.groups.items()}

    def free(self) -> dict[str, Group]:
        """The groups that may change."""
        return {name: group for name, group in self.groups.items() if not group.protected}

    def protected(self) -> dict[str, str]:
        """Why each of the others may not."""
        return {name: group.protected for name, group in self.groups.items() if group.protected}

    def touched(self, names: Iterable[str]) -> set[str]:
        """The layers with weights whose shapes change with these groups."""
        return {layer for name in names for layer in (*self.groups[name].makers, *self.groups[name].users)}


def channels_of(network: keras.Model) -> Channels:
    """The groups of a network's channels; those of the photo and of the logits are protected.

    Source: G. Fang et al., "DepGraph: Towards Any Structural Pruning" (arXiv:2301.12900), section 3.2, for the idea
    that layers which share a channel form a group; here by one pass along the graph.
    """
    flow = follow(network)
    inputs = {name: flow.tied(layout) for name, layout in flow.inputs.items()}
    outputs = {name: flow.tied(layout) for name, layout in flow.outputs.items()}
    groups: dict[str, Group] = {}
    for root in flow.roots():
        makers = tuple(layer for layer in flow.kernels if root in outputs[layer].groups)
        users = tuple(layer for layer in flow.kernels if root in inputs[layer].groups)
        groups[root] = Group(root, flow.widths[root], makers, users, flow.protected.get(root, ""))
    return Channels(groups, inputs, outputs, {name: flow.tied(layout) for name, layout in flow.even})


def reindex(
    network: keras.Model,
    sources: Mapping[str, Indices],
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """The network in which channel j of each named group is a copy of its old channel `sources[group][j]`.

    A subset prunes. What takes a channel that now stands k times has its weights for it divided by k, so that the
    function stays the same. With `noise` they are divided unevenly, by random parts of that share of the kernel's
    root mean square whose sum over the copies is zero: copies then learn different things.

    Source: T. Chen, I. Goodfellow and J. Shlens, "Net2Net" (arXiv:1511.05641), section 2.3, "Net2WiderNet".

    Raises:
        RequestError: an unknown or protected group, numbers out of range, or copies of some channels alone where a
            layer normalizes over all.
    """
    channels = channels_of(network)
    taken = {name: np.asarray(source, np.int64) for name, source in sources.items()}
    for name, source in taken.items():
        _check(network, channels, name, source)
    copies = _Copies(channels, taken)
    for name, layout in channels.even.items():
        copies.check_even(name, layout)
    surgeon = _Surgeon(copies, noise, np.random.default_rng(seed))
    changes: dict[str, Change] = {}
    weights: dict[str, list[Floats]] = {}
    for layer in network.layers:
        into, out = channels.inputs.get(layer.name), channels.outputs.get(layer.name)
        if into is None or out is None or not taken.keys() & {*into.groups, *out.groups}:
            continue
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            weights[layer.name] = surgeon.kernel(layer, into, out)
            key = "units" if isinstance(layer, keras.layers.Dense) else "filters"
            changes[layer.name] = _with({key: copies.size(out)})
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            weights[layer.name] = surgeon.depthwise(layer, out)
        elif isinstance(layer, keras.layers.Reshape):
            changes[layer.name] = _with({"target_shape": (*layer.output.shape[1:-1], copies.size(out))})
        elif layer.weights:
            weights[layer.name] = [  # a PReLU may have one slope for all channels
                value if value.shape[-1] == 1 < out.size(channels.widths) else np.take(value, copies.places(out), -1)
                for value in layer.get_weights()
            ]
    return rebuild(network, changes, weights=weights)


class _Copies:
    """Where each channel of the new network comes from, for a tensor of any layout."""

    def __init__(self, channels: Channels, taken: Mapping[str, Indices]) -> None:
        self.taken = {name: taken.get(name, np.arange(group.width)) for name, group in channels.groups.items()}
        self.counts = {
            name: np.bincount(source, minlength=channels.groups[name].width) for name, source in self.taken.items()
        }
        self.widths = channels.widths

    def places(self, layout: Layout) -> Indices:
        """For each new channel of the tensor the old one."""
        starts = np.cumsum([0, *(self.widths[name] for name in layout.groups)])
        once = np.concatenate([start + self.taken[name] for start, name in zip(starts, layout.groups, strict=False)])
        return np.concatenate([turn * starts[-1] + once for turn in range(layout.tiles)])

    def times(self, layout: Layout) -> Floats:
        """How often each of the new channels stands there."""
        once = np.concatenate([self.counts[name][self.taken[name]] for name in layout.groups])
        return np.tile(once, layout.tiles).astype(np.float32)

    def size(self, layout: Layout) -> int:
        return layout.size({name: len(source) for name, source in self.taken.items()})

    def check_even(self, layer: str, layout: Layout) -> None:
        counts = np.concatenate([self.counts[name] for name in layout.groups])
        if counts.max() > 1 and counts.min() != counts.max():
            raise RequestError(
                f"'{layer}' normalizes over all channels of {', '.join(layout.groups)}: copies of some alone would "
                "change what it answers.",
                "Take every channel equally often.",
            )


class _Surgeon:
    """The new weights of layers with kernels."""

    def __init__(self, copies: _Copies, noise: float, random: np.random.Generator) -> None:
        self.copies, self.noise, self.random = copies, noise, random

    def kernel(self, layer: keras.Layer, into: Layout, out: Layout) -> list[Floats]:
        """Of a convolution, [h, w, in, out] and [out], or a dense layer, [in, out] and [out]."""
        kernel, *bias = layer.get_weights()
        places, times = self.copies.places(into), self.copies.times(into)
        # What was brought to length 1 has k times the squares behind it once every channel stands k times.
        share = 1 / np.sqrt(times) if into.unit else 1 / times
        wider = np.take(kernel, places, -2) * share[:, None]
        if self.noise and times.max() > 1 and layer.kernel_constraint is None:
            wider += self._noise(wider, places, float(np.sqrt(np.mean(np.square(kernel)))))
        outward = self.copies.places(out)
        if len(np.unique(places)) < kernel.shape[-2]:
            wider = held(layer, wider)
        return [np.take(wider, outward, -1), *(np.take(one, outward) for one in bias)]

    def depthwise(self, layer: keras.Layer, out: Layout) -> list[Floats]:
        """Of a depthwise convolution, [h, w, channels, 1] and [channels]."""
        kernel, *bias = layer.get_weights()
        places = self.copies.places(out)
        return [np.take(kernel, places, -2), *(np.take(one, places) for one in bias)]

    def _noise(self, kernel: Floats, places: Indices, size: float) -> Floats:
        """Numbers of a kernel's shape that add up to zero over the copies of each channel."""
        drawn = self.random.normal(0, self.noise * size, kernel.shape).astype(np.float32)
        drawn = np.moveaxis(drawn, -2, 0)
        sums = np.zeros((places.max() + 1, *drawn.shape[1:]), np.float32)
        np.add.at(sums, places, drawn)
        counts = np.bincount(places).astype(np.float32)
        shape = (-1, *[1] * (drawn.ndim - 1))
        means = sums / np.maximum(counts, 1).reshape(shape)
        return np.moveaxis(drawn - means[places], 0, -2)


def _with(config: Mapping[str, Any]) -> Change:
    """The change that makes a layer anew with these settings."""

    def change(layer: Any, inputs: Any) -> Any:
        return type(layer).from_config(layer.get_config() | config)(inputs)

    return change


def _check(network: keras.Model, channels: Channels, name: str, source: Indices) -> None:
    group = channels.groups.get(name)
    if group is None:
        raise RequestError(f"'{network.name}' has no channels '{name}'.", did_you_mean(name, channels.groups))
    if group.protected:
        raise RequestError(f"The channels of '{name}' cannot change: {group.protected}.")
    if not len(source) or source.min() < 0 or source.max() >= group.width:
        raise RequestError(f"The channels of '{name}' are taken from 0..{group.width - 1}, and at least one must stay.")
