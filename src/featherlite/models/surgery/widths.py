"""What a network would cost with other widths, counted without building it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from featherlite.models.macs import count_macs, layer_macs
from featherlite.models.surgery.channels import Channels, channels_of
from featherlite.models.surgery.layout import Layout

__all__ = ["Bill", "bill_of", "cost_of"]


@dataclass(frozen=True)
class Item:
    """What one layer costs: so many parameters and multiply-accumulates for each product of the layouts' sizes."""

    layouts: tuple[Layout, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Bill:
    """The costs of a network as a function of the widths of its groups.

    `parameters` and `macs` are those that hang on no width, `free` the groups whose channels are counted.
    """

    items: tuple[Item, ...]
    free: frozenset[str]
    parameters: int = 0
    macs: int = 0

    def total(self, widths: Mapping[str, int]) -> dict[str, int]:
        """`channels` (of the free groups), `parameters` and `macs` of the network with these widths."""
        parameters, macs = self.parameters, self.macs
        for item in self.items:
            size = math.prod(layout.size(widths) for layout in item.layouts)
            parameters, macs = parameters + size * item.parameters, macs + size * item.macs
        return {"channels": sum(widths[name] for name in self.free), "parameters": parameters, "macs": macs}

    def of(self, group: str) -> Bill:
        """The part that hangs on one group's width: enough to say what a change of it saves."""
        items = tuple(item for item in self.items if any(group in layout.groups for layout in item.layouts))
        return Bill(items, self.free & {group})


def bill_of(network: keras.Model, channels: Channels) -> Bill:
    """The bill of a network: exact in parameters and multiply-accumulates, whatever the widths."""
    widths = channels.widths
    items: list[Item] = []
    for layer in network.layers:
        into, out = channels.inputs.get(layer.name), channels.outputs.get(layer.name)
        if into is None or out is None or not layer.weights:
            continue
        kernel, *others = (math.prod(weight.shape) for weight in layer.weights)
        mixes = isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        macs, layouts = layer_macs(layer), (into, out) if mixes else (out,)
        size = math.prod(layout.size(widths) for layout in layouts)
        items.append(Item(layouts, kernel // size, macs // size))
        items.append(Item((out,), sum(others) // out.size(widths), 0))
    bill = Bill(tuple(items), frozenset(channels.free()))
    known = bill.total(widths)
    fixed = (int(network.count_params()) - known["parameters"], count_macs(network) - known["macs"])
    return Bill(bill.items, bill.free, *fixed)


def cost_of(network: keras.Model) -> dict[str, int]:
    """The `channels` that may change, the `parameters` and the `macs` of a network as it is."""
    channels = channels_of(network)
    return bill_of(network, channels).total(channels.widths)
