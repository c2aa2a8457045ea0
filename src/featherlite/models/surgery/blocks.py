"""The residual blocks of a network: which of them may go and why others may not, their cost, the graph without some.

A residual block is a sum of two tensors, one of which (the shortcut) is what the other (the branch) was computed from.
Where both have one shape the sum may be replaced by its shortcut, and whatever only the branch needed is gone: that
holds in any graph, whatever stands in the branch (depthwise kernels, squeeze-and-excite, other blocks).

Source: A. Veit, M. Wilber and S. Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks"
(arXiv:1605.06431), section 4: single blocks can be left out of a trained network at little cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from featherlite.models.fusing import activation_name
from featherlite.models.macs import layer_macs
from featherlite.models.named import HEAD
from featherlite.models.surgery.rebuild import Change, edges, rebuild, skip

__all__ = ["HEAD", "ResidualBlock", "residual_blocks", "touched", "without_blocks"]


@dataclass(frozen=True)
class ResidualBlock:
    """One residual block: the sum that ends it, and what would go with it.

    `parameters` and `macs` are those of the branch, for one photo. `why_not` is empty where it may be removed.
    """

    sum: str
    shortcut: str
    """The operation whose output passes by the branch."""
    port: int
    """Which input of the sum the shortcut is."""
    branch: tuple[str, ...]
    """The operations that nothing but the branch needs, in the graph's order."""
    parameters: int
    macs: int
    why_not: str = ""


def residual_blocks(network: keras.Model) -> tuple[ResidualBlock, ...]:
    """Every residual block of the backbone, from input to output, the removable and those that say why they are not."""
    graph = _Graph(network)
    return tuple(graph.block(name) for name, operation in graph.operations.items() if _is_sum(operation))


def without_blocks(network: keras.Model, blocks: Iterable[ResidualBlock]) -> keras.Model:
    """A new network in which these removable blocks' sums are replaced by their shortcuts; all else is carried over.

    An activation behind such a sum goes too where the shortcut comes straight from the very same one (ResNet's ReLU):
    applied twice it changes nothing.
    """
    chosen = list(blocks)
    operations = {operation.name: operation for operation in network.operations}
    consumers: dict[str, list[Any]] = {}
    for source, target in edges(network):
        consumers.setdefault(source.name, []).append(target)
    changes: dict[str, Change] = {}
    for block in chosen:
        changes[block.sum] = skip(block.port)
        behind = consumers.get(block.sum, [])
        if len(behind) == 1 and _is_repeated(operations[block.shortcut], behind[0]):
            changes[behind[0].name] = skip()
    return rebuild(network, changes)


def touched(old: keras.Model, new: keras.Model) -> set[str]:
    """The layers of the changed network beside the change: those that are new or feed on other layers, and these."""
    before, after = _Graph(old), _Graph(new)
    found = set()
    for name in after.sources:
        former = before.feeders(name)
        if name not in after.inputs and former != after.feeders(name):
            found |= {name, *after.sources[name]} - set(former or ())
    return found & {layer.name for layer in new.layers} - after.inputs


class _Graph:
    """A network's operations by name, and who feeds on whom."""

    def __init__(self, network: keras.Model) -> None:
        self.operations: dict[str, Any] = {operation.name: operation for operation in network.operations}
        self.inputs = {name for name, one in self.operations.items() if isinstance(one, keras.layers.InputLayer)}
        self.sources: dict[str, list[str]] = {name: [] for name in self.operations}
        for source, target in edges(network):
            self.sources[target.name].append(source.name)
        self.output: str = network.outputs[0]._keras_history.operation.name

    def feeders(self, name: str) -> list[str] | None:
        """What an operation feeds on, None where there is none of that name; a rebuilt network's input is renamed."""
        if name not in self.sources:
            return None
        return ["" if source in self.inputs else source for source in self.sources[name]]

    @cached_property
    def ancestors(self) -> Mapping[str, frozenset[str]]:
        """All that each operation depends on, itself not counted."""
        found: dict[str, frozenset[str]] = {}
        for name in self.operations:
            found[name] = frozenset().union(*(found[source] | {source} for source in self.sources[name]))
        return found

    def needed(self, gone: Mapping[str, str]) -> set[str]:
        """What the output depends on, with the sums in `gone` passing their shortcut through."""
        pending, found = [self.output], {self.output}
        while pending:
            name = pending.pop()
            for source in [gone[name]] if name in gone else self.sources[name]:
                if source not in found:
                    found.add(source)
                    pending.append(source)
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an operation's output without the number of photos; sizes that are open count as 1."""
        tensor = keras.tree.flatten(self.operations[name].output)[0]
        return tuple(size or 1 for size in tensor.shape[1:])

    def block(self, name: str) -> ResidualBlock:
        """The residual block that ends in this sum."""
        terms = self.sources[name]
        if len(terms) != 2:
            return ResidualBlock(name, terms[0], 0, (), 0, 0, f"it adds up {len(terms)} tensors")
        direct = [port for port in (0, 1) if terms[port] in self.ancestors[terms[1 - port]]]
        port = direct[0] if direct else min((0, 1), key=lambda one: self._weighted(terms[one], terms[1 - one]))
        branch = self._branch(name, terms[port])
        layers = [self.operations[one] for one in branch if isinstance(self.operations[one], keras.layers.Layer)]
        parameters = sum(int(layer.count_params()) for layer in layers)
        macs = sum(layer_macs(layer) for layer in layers)
        why_not = self._why_not(name, terms[port], direct=bool(direct), parameters=parameters)
        return ResidualBlock(name, terms[port], port, branch, parameters, macs, why_not)

    def _branch(self, name: str, shortcut: str) -> tuple[str, ...]:
        whole, left = self.needed({}), self.needed({name: shortcut})
        return tuple(one for one in self.operations if one in whole - left and one != name)

    def _weighted(self, side: str, other: str) -> int:
        """How many operations with weights lie on this side alone: the shortcut is the side with fewer."""
        alone = (self.ancestors[side] | {side}) - self.ancestors[other]
        return sum(bool(getattr(self.operations[one], "weights", ())) for one in alone)

    def _why_not(self, name: str, shortcut: str, *, direct: bool, parameters: int) -> str:
        if not direct:
            both = self.ancestors[shortcut] & self.ancestors[self._other(name, shortcut)]
            fork = next((one for one in reversed(self.operations) if one in both), "")
            change = _change(self.shape(fork), self.shape(name)) if fork else "its two terms have no common origin"
            return f"its shortcut passes through '{shortcut}': {change}"
        if self.shape(shortcut) != self.shape(name):
            return f"its shortcut is spread over the map: {_change(self.shape(shortcut), self.shape(name))}"
        if not parameters:
            return "nothing with weights would go: its branch has none, or they are needed elsewhere too"
        return ""

    def _other(self, name: str, shortcut: str) -> str:
        return next((term for term in self.sources[name] if term != shortcut), shortcut)


def _is_sum(operation: Any) -> bool:
    if type(operation).__name__ != "Add" or operation.name.startswith(HEAD):
        return False
    return len(keras.tree.flatten(operation.input)) > 1  # x + 3 has one tensor alone


def _change(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    if before == after:
        return "it has weights of its own"
    parts = []
    if before[:-1] != after[:-1]:
        parts.append(f"the map changes from {'x'.join(map(str, before[:-1]))} to {'x'.join(map(str, after[:-1]))}")
    if before[-1] != after[-1]:
        parts.append(f"the channels change from {before[-1]} to {after[-1]}")
    return " and ".join(parts)


_CLAMPS = ("linear", "relu", "relu6")
"""Activations that change nothing when they are applied twice."""


def _is_repeated(first: Any, second: Any) -> bool:
    """Whether the second is an activation that changes nothing behind the first."""
    if isinstance(first, keras.layers.ReLU) and isinstance(second, keras.layers.ReLU):
        keys: Collection[str] = ("max_value", "negative_slope", "threshold")
        return all(float(getattr(first, key) or 0) == float(getattr(second, key) or 0) for key in keys) and (
            not first.negative_slope and not first.threshold
        )
    if isinstance(first, keras.layers.Activation) and isinstance(second, keras.layers.Activation):
        return activation_name(first) == activation_name(second) and activation_name(first) in _CLAMPS
    return False
