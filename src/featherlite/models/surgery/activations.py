"""A network's activations: found whatever they are written as, and swapped for others.

An activation may be a layer, the last part of a convolution, or a few operations such as x * sigmoid(x). It is told by
what it does to numbers, not by how it is written: every stretch of operations that maps each number on its own is tried
on a row of numbers and compared with the functions that have a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.fusing import activation_name
from featherlite.models.surgery.flow import ACTIVATIONS
from featherlite.models.surgery.rebuild import Change, edges, rebuild

__all__ = ["GATES", "TARGETS", "ActivationSite", "Target", "find_activations", "swap_activations"]

Target = Literal["relu6", "relu", "hard_swish", "hard_sigmoid"]

TARGETS: dict[str, str] = {"relu6": "relu6", "relu": "relu", "hard_swish": "hard_silu", "hard_sigmoid": "hard_sigmoid"}
"""What an activation may be swapped for, and Keras's name of it."""
GATES = ("sigmoid", "hard_sigmoid")
"""Functions that weigh something else: no activations of a feature map."""

_NAMED = {
    "relu": "relu",
    "relu6": "relu6",
    "swish": "silu",
    "hard_swish": "hard_silu",
    "gelu": "gelu",
    "elu": "elu",
    "selu": "selu",
    "leaky_relu": "leaky_relu",
    "mish": "mish",
    "softplus": "softplus",
    "softsign": "softsign",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hard_sigmoid": "hard_sigmoid",
}
"""Our names, and Keras's."""
_PARAMETRIC = {"LeakyReLU": "leaky_relu", "ELU": "elu", "PReLU": "prelu", "ReLU": "relu", "Celu": "elu"}
"""Kinds of layers that stay what they are at other slopes."""
_ELEMENTWISE_LAYERS = ("Activation", "Add", "ELU", "LeakyReLU", "Maximum", "Minimum", "Multiply", "ReLU", "Subtract")
_ELEMENTWISE_OPS = (
    *("Add", "Clip", "Divide", "Exp", "Maximum", "Minimum", "Multiply", "Negative", "Subtract", "Tanh", "TrueDivide"),
    *("Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSilu", "LeakyRelu", "Mish", "Relu", "Relu6", "Selu"),
    *("Sigmoid", "Silu", "Softplus", "Softsign"),
)
_PROBE = np.linspace(-9, 9, 361, dtype=np.float32)
_FARTHEST = 8
"""Operations in a row that one activation is written with, at most."""


@dataclass(frozen=True)
class ActivationSite:
    """One activation in a graph: the operation it ends in, what it is, and the operation whose output it takes.

    `source` is None where it is the last part of a convolution or dense layer, which `name` then is.
    """

    name: str
    kind: str
    source: str | None


def find_activations(network: keras.Model) -> tuple[ActivationSite, ...]:
    """All activations of the network in its order, also sigmoids that weigh (`GATES`)."""
    sites: dict[str, ActivationSite] = {}
    taken = _floors(network)
    for operation in reversed(network.operations):
        if operation.name in taken:
            continue
        fused = _fused(operation)
        if fused:
            sites[operation.name] = ActivationSite(operation.name, fused, None)
        elif _is_elementwise(operation) or type(operation).__name__ == "PReLU":
            found = _recognized(operation)
            if found is not None:
                kind, source, parts = found
                sites[operation.name] = ActivationSite(operation.name, kind, source)
                taken |= parts
    return tuple(sites[operation.name] for operation in network.operations if operation.name in sites)


def _floors(network: keras.Model) -> set[str]:
    """What keeps a divisor from zero, max(|x|, tiny) in a cosine head: of values that are never negative, no ReLU."""
    consumers: dict[str, set[str]] = {}
    for producer, consumer in edges(network):
        consumers.setdefault(producer.name, set()).add(type(consumer).__name__)
    return {name for name, kinds in consumers.items() if kinds <= {"Rsqrt", "Sqrt"}}


def swap_activations(network: keras.Model, sites: Iterable[ActivationSite], target: Target) -> keras.Model:
    """The network with those activations swapped; what ends in one keeps its name, and all other weights are kept."""
    return rebuild(network, {site.name: _swapped(site, target) for site in sites})


def _swapped(site: ActivationSite, target: Target) -> Change:
    source = site.source
    if source is None:
        return lambda layer, x: type(layer).from_config(layer.get_config() | {"activation": TARGETS[target]})(x)
    return lambda operation, inputs: _layer(target, operation.name)(_output_of(source, inputs))


def _layer(target: Target, name: str) -> Any:
    if target == "relu6":
        return keras.layers.ReLU(6.0, name=name)
    return keras.layers.ReLU(name=name) if target == "relu" else keras.layers.Activation(TARGETS[target], name=name)


def _output_of(source: str, inputs: Any) -> Any:
    """The tensor that the operation of that name made, looked for backwards from what follows it."""
    pending = [tensor for tensor in keras.tree.flatten(inputs) if isinstance(tensor, keras.KerasTensor)]
    while pending:
        tensor = pending.pop()
        operation = tensor._keras_history.operation
        if isinstance(operation, keras.layers.InputLayer) or operation.name == source:
            return tensor
        pending += keras.tree.flatten(operation.input)
    raise ValueError(f"nothing here comes from '{source}'")


# ---- what an activation is -------------------------------------------------------------------------------------------


def _fused(operation: Any) -> str:
    """The kind of activation that a layer with weights ends in; empty where there is none."""
    name = activation_name(operation)
    if isinstance(operation, keras.layers.Activation) or name == "linear":
        return ""
    found = _kind_of(lambda x: np.asarray(operation.activation(x)))
    return found or (name if name in ACTIVATIONS else "")  # a softmax looks at all channels: no activation to swap


def _is_elementwise(operation: Any) -> bool:
    if isinstance(operation, keras.layers.Layer):
        return type(operation).__name__ in _ELEMENTWISE_LAYERS
    return type(operation).__name__ in _ELEMENTWISE_OPS


def _recognized(operation: Any) -> tuple[str, str, set[str]] | None:
    """Kind, source and operations of the activation that ends here: the nearest source that makes it one."""
    name = type(operation).__name__
    if name == "PReLU":
        return "prelu", _producers(operation)[0].name, {operation.name}
    for source, parts in _sources(operation):
        kind = _kind_of(lambda x, source=source: _value(operation, source, x, {}))  # type: ignore[misc]
        if kind:
            return kind, source.name, {part.name for part in parts}
    single = _producers(operation)
    if name in _PARAMETRIC and len(single) == 1:
        return _PARAMETRIC[name], single[0].name, {operation.name}
    return None


def _producers(operation: Any) -> list[Any]:
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(operation.input)]


def _sources(operation: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Every operation of which alone this one is a function, number by number, with what lies between; nearest first.

    The parts grow backwards, the last of them in the graph's order first, until only one thing feeds them.
    """
    found, parts = [], [operation]
    while len(parts) <= _FARTHEST:
        feeding: list[Any] = []
        for part in parts:
            feeding += [one for one in _producers(part) if one not in parts and one not in feeding]
        if len(feeding) == 1:
            found.append((feeding[0], tuple(parts)))
        inner = [one for one in feeding if _is_elementwise(one) and _same_shape(one, operation)]
        # Of several that feed, one that depends on another comes off first.
        ready = [
            one
            for one in inner
            if not any(one in _ancestors(other, _FARTHEST) for other in feeding if other is not one)
        ]
        if not ready:
            break
        parts.append(ready[0])
    return found


def _ancestors(operation: Any, depth: int) -> list[Any]:
    if depth == 0 or isinstance(operation, keras.layers.InputLayer):
        return []
    direct = _producers(operation)
    return direct + [one for parent in direct for one in _ancestors(parent, depth - 1)]


def _same_shape(one: Any, other: Any) -> bool:
    return bool(one.output.shape == other.output.shape)


def _value(operation: Any, source: Any, x: NDArray[np.float32], known: dict[str, Any]) -> NDArray[np.float32]:
    """What the operation makes of numbers x put in the place of the source's output."""
    if operation is source:
        return x
    if operation.name not in known:
        node = operation._inbound_nodes[0]

        def at(value: Any) -> Any:
            if not isinstance(value, keras.KerasTensor):
                return value
            return keras.ops.convert_to_tensor(_value(value._keras_history.operation, source, x, known))

        args, kwargs = keras.tree.map_structure(at, (node.arguments.args, node.arguments.kwargs))
        known[operation.name] = keras.ops.convert_to_numpy(operation(*args, **kwargs))
    return np.asarray(known[operation.name])


def _kind_of(function: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> str:
    """The name of what the function does to numbers; empty for what has none."""
    values = function(_PROBE)
    if values.shape != _PROBE.shape:
        return ""
    return next((name for name, known in _known() if np.allclose(values, known, atol=1e-5)), "")


@cache
def _known() -> tuple[tuple[str, NDArray[np.float32]], ...]:
    """What each function with a name makes of the probe; gelu also as it is approximated."""
    found = [(name, getattr(keras.activations, keras_name)(_PROBE)) for name, keras_name in _NAMED.items()]
    found.append(("gelu", keras.activations.gelu(_PROBE, approximate=True)))
    return tuple((name, np.asarray(keras.ops.convert_to_numpy(values))) for name, values in found)
