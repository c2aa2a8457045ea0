"""How much memory a network's activations take in int8, estimated from its graph without converting it.

The graph is run through in its order as a converter lays it out: BatchNorm and ReLU are computed together with what
they follow, padding that amounts to "same" with what it precedes, dropout is gone, swish is a sigmoid and a product.
Whatever is still needed at one time has to be in memory then, one byte a value; the worst time is the estimate. A
device's arena is larger: its planner leaves holes, and kernels ask for scratch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import keras

from featherlite.models.fusing import (
    CLAMPED,
    KERNELS,
    SCALING,
    TRAINING_ONLY,
    activation_name,
    is_clamp,
    is_linear,
    is_same_padding,
)
from featherlite.models.memory_plan import ALIGNMENT, Block, lower_bound
from featherlite.models.surgery.rebuild import edges

__all__ = ["activation_peak"]

TWO_STEPS: Final = frozenset(("silu", "swish"))
"""Activations that take a second tensor of their size: the sigmoid that their input is multiplied with."""


def activation_peak(network: keras.Model) -> int:
    """Bytes of the int8 activations of one photo that are needed at the same time, at the worst time.

    A lower bound of the arena that TensorFlow Lite Micro takes for the network's int8 artefact. A network within the
    network counts as one operation.
    """
    return lower_bound(_Schedule(network).blocks())


class _Schedule:
    """The graph as steps of a device: each takes values and makes one."""

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._value: dict[str, str] = {}  # in which value an operation's output is, by the operation's name
        self._sizes: dict[str, int] = {}
        self._born: dict[str, int] = {}
        self._last: dict[str, int] = {}
        sources = _sources(network)
        self._gone = {operation.name for operation in network.operations} - sources.keys()
        takers = Counter(source.name for taken in sources.values() for source in taken)
        for operation in network.operations:
            if operation.name in sources:
                self._lay(operation, sources[operation.name], takers)

    def blocks(self) -> Iterator[Block]:
        """The values' memory, each from the step that makes it to the last one that takes it."""
        end = len(self._sizes)
        for tensor in self._network.outputs:
            self._last[self._value[_seen(tensor._keras_history.operation, self._gone).name]] = end
        return (Block(size, self._born[name], self._last[name]) for name, size in self._sizes.items())

    def _lay(self, operation: Any, sources: list[Any], takers: Counter[str]) -> None:
        name = operation.name
        if len(sources) == 1 and takers[sources[0].name] == 1 and _merges(sources[0], operation):
            self._value[name] = self._value[sources[0].name]
            return
        taken = [self._value[source.name] for source in sources]
        made = keras.tree.flatten(operation.output)
        size = sum(math.prod(int(side or 1) for side in tensor.shape[1:]) for tensor in made)
        kind, activation = type(operation).__name__, _activation(operation)
        if kind == "SeparableConv2D":
            per_channel = operation.depthwise_kernel.shape[2] * operation.depthwise_kernel.shape[3]
            taken = [self._step(f"{name} depthwise", taken, size // made[0].shape[-1] * per_channel)]
        if activation in TWO_STEPS and kind != "Activation":
            taken = [self._step(f"{name} sum", taken, size)]
        if activation in TWO_STEPS:
            taken.append(self._step(f"{name} sigmoid", taken, size))
        self._value[name] = self._step(name, taken, size)

    def _step(self, name: str, taken: Iterable[str], size: int) -> str:
        """The value that a step makes of others."""
        now = len(self._sizes)
        self._last.update(dict.fromkeys(taken, now))
        self._sizes[name], self._born[name], self._last[name] = -(-size // ALIGNMENT) * ALIGNMENT, now, now
        return name


def _sources(network: keras.Model) -> dict[str, list[Any]]:
    """What each operation that a device computes takes, seen through those that are gone; the input takes nothing."""
    pairs = edges(network)
    same = _same_padding(pairs)
    gone = {
        operation.name
        for operation in network.operations
        if type(operation).__name__ in TRAINING_ONLY or is_linear(operation)
    } | same
    found: dict[str, list[Any]] = {one.name: [] for one in network.operations if one.name not in gone}
    for source, target in pairs:
        if target.name in found:
            found[target.name].append(_seen(source, gone))
    return found


def _same_padding(pairs: Iterable[tuple[Any, Any]]) -> set[str]:
    """Names of padding layers that a converter takes up into the convolutions behind them."""
    behind: dict[str, list[Any]] = {}
    layers = {}
    for source, target in pairs:
        if type(source).__name__ == "ZeroPadding2D":
            layers[source.name] = source
            behind.setdefault(source.name, []).append(target)
    return {name for name, layer in layers.items() if all(is_same_padding(layer, target) for target in behind[name])}


def _seen(operation: Any, gone: Collection[str]) -> Any:
    """The operation itself, or the one whose output it hands on as it is."""
    while operation.name in gone:
        operation = operation.input._keras_history.operation
    return operation


def _merges(before: Any, operation: Any) -> bool:
    """Whether an operation is computed together with the one that it alone follows."""
    if _activation(before) != "linear":
        return False
    first, second = type(before).__name__, type(operation).__name__
    return (first in KERNELS and second in SCALING) or (first in CLAMPED and is_clamp(operation))


def _activation(operation: Any) -> str:
    """The name of the activation at an operation's end; 'linear' where it has none, 'silu' for the operation itself."""
    if type(operation).__name__ in ("Silu", "Swish"):
        return "silu"
    return activation_name(operation)
