"""The same network with some layers changed: the graph is laid anew, and every weight that fits is carried over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError

__all__ = ["Change", "edges", "held", "nodes_of", "rebuild", "skip"]

Change = Callable[[Any, Any], Any]
"""(a fresh copy of the layer, its input or list of inputs) -> what stands in the place of its output."""


def rebuild(
    network: keras.Model,
    changes: Mapping[str, Change] | None = None,
    *,
    weights: Mapping[str, Sequence[NDArray[Any]]] | None = None,
    shape: tuple[int, int, int] | None = None,
) -> keras.Model:
    """A new network of the same layers in the same order, except where `changes` names one; `network` is left as it is.

    A change may leave its layer out by returning an input (`skip`), call the copy and add layers behind it, or call
    other layers; what nothing hangs on any more is gone. Layers of a name and of shapes that the old network has get
    their weights from there, those that `weights` names from it; the rest start as their initializers say, which are to
    be given seeds. `shape` is the new input's, (height, width, 3); the old one's by default.

    Raises:
        RequestError: the layers do not fit together any more, a named layer or its weights do not, or a layer is used
            more than once, of which the change of one use would be that of all.
    """
    nodes_of(network)
    changes, weights = dict(changes or {}), dict(weights or {})
    known = {operation.name for operation in network.operations}
    absent = sorted(set(changes) - known)
    if absent:
        raise RequestError(f"'{network.name}' has no layer '{absent[0]}'.")
    photo = keras.Input(shape or network.input_shape[1:], name="photo")

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        change = changes.get(layer.name)
        if change is None:
            return layer(*args, **kwargs)
        return change(layer, args[0] if len(args) == 1 else list(args))

    try:
        laid = keras.models.clone_model(network, input_tensors=photo, clone_function=_fresh, call_function=call)
        fresh = keras.Model(laid.inputs[0], laid.outputs[0], name=network.name)
    except (ValueError, TypeError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise RequestError(f"'{network.name}' does not hold together with these changes: {reason[:300]}") from error
    _carry(network, fresh, weights)
    for number, state in enumerate(one for one in fresh.variables if one.path.endswith("seed_generator_state")):
        state.assign([number, 0])  # a new dropout draws a seed at random, which would be stored with the network
    return fresh


def skip(number: int = 0) -> Change:
    """The change that leaves a layer out: its input of that number stands in its place."""

    def change(_layer: Any, inputs: Any) -> Any:
        return inputs[number] if isinstance(inputs, list | tuple) else inputs

    return change


def held(layer: Any, kernel: NDArray[Any]) -> NDArray[Any]:
    """The kernel as the layer's constraint wants it (columns of length one, say); as it is where there is none."""
    constraint = getattr(layer, "kernel_constraint", None)
    return kernel if constraint is None else np.asarray(constraint(kernel))


def nodes_of(network: keras.Model) -> list[Any]:
    """Every use of an operation in the graph; each operation has one.

    Raises:
        RequestError: one has more.
    """
    nodes = [node for level in network._nodes_by_depth.values() for node in level]
    uses = Counter(id(node.operation) for node in nodes)
    twice = next((node.operation.name for node in nodes if uses[id(node.operation)] > 1), None)
    if twice is not None:
        raise RequestError(
            f"'{network.name}' uses the layer '{twice}' more than once: it cannot be changed in parts.",
            "Build it with a layer for each use.",
        )
    return nodes


def edges(network: keras.Model) -> list[tuple[Any, Any]]:
    """Every (producer, consumer) pair of operations in the graph, in its order."""
    return [
        (tensor._keras_history.operation, operation)
        for operation in network.operations
        if not isinstance(operation, keras.layers.InputLayer)
        for tensor in keras.tree.flatten(operation.input)
    ]


def _fresh(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


def _carry(old: keras.Model, new: keras.Model, given: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    former = {layer.name: layer for layer in old.layers}
    _refuse_absent(new, given)
    for layer in new.layers:
        layer.trainable = former[layer.name].trainable if layer.name in former else True
        values = given.get(layer.name)
        if values is None and layer.name in former:
            values = former[layer.name].get_weights()
            if [np.shape(value) for value in values] != [tuple(weight.shape) for weight in layer.weights]:
                continue
        if values is None:
            continue
        if [np.shape(value) for value in values] != [tuple(weight.shape) for weight in layer.weights]:
            shapes = [tuple(weight.shape) for weight in layer.weights]
            raise RequestError(f"The layer '{layer.name}' takes weights of {shapes}.")
        layer.set_weights([np.asarray(value) for value in values])


def _refuse_absent(network: keras.Model, named: Collection[str]) -> None:
    absent = sorted(set(named) - {layer.name for layer in network.layers})
    if absent:
        raise RequestError(f"The changed network has no layer '{absent[0]}' to give weights to.")
