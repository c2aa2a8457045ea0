"""A network parted at its cut points: stretches that hand on one feature map and nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from featherlite.models.contract import cut_points
from featherlite.models.surgery.activations import find_activations
from featherlite.models.surgery.rebuild import rebuild

__all__ = ["Stretch", "joined", "network_of", "output_of", "stretches"]


@dataclass(frozen=True)
class Stretch:
    """The operations behind `start` (the photo where None) up to and with `end`, in the graph's order."""

    start: str | None
    end: str
    operations: tuple[str, ...]


def stretches(network: keras.Model) -> tuple[Stretch, ...]:
    """The whole network in stretches, from the photo to the logits.

    They end at cut points. Where some of these are linear (sums, bottlenecks), only those count: a stretch then ends
    behind the layer that an activation feeds, so that it can make up for another activation.
    """
    points = cut_points(network)
    active = {site.name for site in find_activations(network)}
    linear = [name for name in points if name not in active]
    ends = set(linear or points)
    if points:
        ends.add(points[-1])
    found, start, inside = [], None, list[str]()
    for operation in network.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        inside.append(operation.name)
        if operation.name in ends or operation is network.operations[-1]:
            found.append(Stretch(start, operation.name, tuple(inside)))
            start, inside = operation.name, []
    return tuple(found)


def joined(parts: Sequence[Stretch]) -> Stretch:
    """Stretches that follow each other as one, with what lies between the first and the last left out of the list."""
    return Stretch(parts[0].start, parts[-1].end, tuple(name for part in parts for name in part.operations))


def network_of(network: keras.Model, stretch: Stretch) -> keras.Model:
    """A network of its own that makes a stretch's output from its input; layers and weights are copies."""
    # Building on a tensor leaves traces in its layers: it is done on a copy.
    copy = rebuild(network)
    start = copy.inputs[0] if stretch.start is None else output_of(copy, stretch.start)
    return rebuild(keras.Model(start, output_of(copy, stretch.end), name="stretch"))


def output_of(network: keras.Model, name: str) -> Any:
    """What the operation of that name puts out, as a tensor of the graph."""
    return next(operation.output for operation in network.operations if operation.name == name)
