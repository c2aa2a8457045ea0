"""Dense layers made narrower, wider at the output, or split in two: slicing of units stands here, and nowhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError, did_you_mean
from featherlite.models.fusing import activation_name
from featherlite.models.surgery.flow import ACTIVATIONS
from featherlite.models.surgery.rebuild import edges, held, rebuild

__all__ = [
    "HiddenDense",
    "dense_part",
    "fresh_weights",
    "has_fixed_columns",
    "hidden_dense",
    "hidden_named",
    "output_dense",
    "sliced_weights",
    "with_outputs",
    "with_units",
]

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.int64]

_ELEMENTWISE = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Rescaling,
)
_MERGING = (keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply, keras.layers.Maximum, keras.layers.Minimum)
_PER_UNIT = (keras.layers.BatchNormalization, keras.layers.PReLU)
"""Layers whose weights have one number for each unit, on the last axis."""
_OPERATIONS = frozenset({"Square", "Sqrt", "Rsqrt", "Absolute", "Negative", "Maximum", "Minimum"})
"""Bare operations that work on each unit alone, by class name."""


@dataclass(frozen=True)
class HiddenDense:
    """A dense layer whose units only other dense layers read, so that any of them may go."""

    name: str
    inputs: int
    units: int
    between: tuple[str, ...]
    """Layers with one weight a unit on the way to the readers: BatchNorm, PReLU."""
    readers: tuple[str, ...]
    """Dense layers that read the units."""
    parameters: int
    """Weights that hang on its units: all of them, with none kept."""

    @property
    def changed(self) -> tuple[str, ...]:
        """The layers whose weights change shape with the number of units."""
        return (self.name, *self.between, *self.readers)


def hidden_dense(network: keras.Model, *, pooled: bool = True) -> dict[str, HiddenDense]:
    """The hidden dense layers by name, in the order of the graph; those on pooled features [n, units] alone by default.

    Others work at each place of a feature map, as in ConvNeXt.
    """
    found = {}
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense) and not (pooled and len(layer.output.shape) != 2):
            hidden, _ = _look(network, layer)
            if hidden is not None:
                found[hidden.name] = hidden
    return found


def hidden_named(network: keras.Model, name: str) -> HiddenDense:
    """The hidden dense layer of that name, wherever in the graph.

    Raises:
        RequestError: there is none, or something else than dense layers needs all of its units.
    """
    layer = next((one for one in network.layers if one.name == name), None)
    if isinstance(layer, keras.layers.Dense):
        hidden, why = _look(network, layer)
        if hidden is not None:
            return hidden
        raise RequestError(f"The units of '{name}' cannot be chosen from: {why}.", _named(network))
    raise RequestError(f"'{network.name}' has no dense layer '{name}'.", _named(network, name))


def _named(network: keras.Model, asked: str = "") -> str:
    names = hidden_dense(network) or hidden_dense(network, pooled=False)
    if names:
        return did_you_mean(asked, names)
    return "It has no hidden dense layer: build it with head=dense."


def _look(network: keras.Model, dense: keras.layers.Dense) -> tuple[HiddenDense | None, str]:
    """The layer as a hidden one, or None and why it is none."""
    if activation_name(dense) not in ACTIVATIONS:
        return None, f"its activation, {activation_name(dense)}, takes all of them"
    behind: dict[int, list[Any]] = {}
    for source, target in edges(network):
        behind.setdefault(id(source), []).append(target)
    ends = {id(tensor._keras_history.operation) for tensor in keras.tree.flatten(network.output)}
    between: dict[str, Any] = {}
    readers: dict[str, Any] = {}
    carriers, merging = {id(dense)}, list[Any]()
    queue = deque([dense])
    while queue:
        operation = queue.popleft()
        if id(operation) in ends:
            return None, "they are the answers of the network"
        for target in behind.get(id(operation), []):
            if isinstance(target, keras.layers.Dense):
                readers[target.name] = target
            elif isinstance(target, _PER_UNIT) and _on_last_axis(target):
                between[target.name] = target
            elif isinstance(target, _MERGING) or _joins(target):
                merging.append(target)
            elif _is_length(target):
                continue  # one number a photo, such as the length of a feature: whatever number of units it is of
            elif not _passes(target):
                return None, f"'{target.name}' behind it takes all of them"
            if target.name not in readers and id(target) not in carriers:
                carriers.add(id(target))
                queue.append(target)
    for merge in merging:
        inputs = keras.tree.flatten(merge.input)
        if not all(id(one._keras_history.operation) in carriers or one.shape[-1] == 1 for one in inputs):
            return None, f"'{merge.name}' joins them with others"
    if not readers:
        return None, "nothing reads them"
    size, units = (int(size) for size in dense.kernel.shape)
    cost = dense.count_params() + sum(layer.count_params() for layer in between.values())
    cost += sum(units * int(layer.units) for layer in readers.values())
    return HiddenDense(dense.name, size, units, tuple(between), tuple(readers), int(cost)), ""


def _on_last_axis(layer: Any) -> bool:
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.axis in (-1, len(layer.output.shape) - 1)
    return bool(all(size == 1 for size in layer.alpha.shape[:-1]) and layer.alpha.shape[-1] > 1)


def _passes(operation: Any) -> bool:
    if isinstance(operation, keras.layers.Activation):
        return activation_name(operation) in ACTIVATIONS
    if isinstance(operation, keras.layers.Rescaling):
        return np.ndim(operation.scale) == 0 and np.ndim(operation.offset) == 0
    return isinstance(operation, _ELEMENTWISE) or type(operation).__name__ in _OPERATIONS


def _joins(operation: Any) -> bool:
    return type(operation).__name__ in _OPERATIONS and len(keras.tree.flatten(operation.input)) > 1


def _is_length(operation: Any) -> bool:
    return type(operation).__name__ in ("Sum", "Mean", "Max") and operation.output.shape[-1] == 1


# ---- units -------------------------------------------------------------------------------------------------------


def sliced_weights(network: keras.Model, hidden: HiddenDense, units: Numbers) -> dict[str, list[Floats]]:
    """The weights of all layers that change where only `units` (int64 [kept]) of the layer stay, by layer name."""
    weights = {
        name: [value[..., units] for value in network.get_layer(name).get_weights()]
        for name in (hidden.name, *hidden.between)
    }
    for name in hidden.readers:
        layer = network.get_layer(name)
        kernel, *bias = layer.get_weights()
        weights[name] = [held(layer, kernel[units]), *bias]
    return weights


def fresh_weights(network: keras.Model, hidden: HiddenDense, units: int, seed: int) -> dict[str, list[Floats]]:
    """Weights as of a network that was never trained, for all layers that change where the layer has so many units."""
    weights: dict[str, list[Floats]] = {}
    for number, name in enumerate(hidden.changed):
        layer = network.get_layer(name)
        config, shape = layer.get_config(), list(layer.input.shape)
        if name == hidden.name:
            config["units"] = units
        else:
            shape[-1] = units
        fresh = type(layer).from_config(config)
        initializer = getattr(fresh, "kernel_initializer", None)
        if initializer is not None and "seed" in (options := initializer.get_config()):
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            fresh.kernel_initializer = type(initializer).from_config(options | {"seed": own})
        fresh.build(shape)
        weights[name] = fresh.get_weights()
    return weights


def with_units(network: keras.Model, hidden: HiddenDense, weights: Mapping[str, Sequence[Floats]]) -> keras.Model:
    """The network with the weights, and so with as many units, that the layer and those around it are given."""
    units = np.shape(weights[hidden.name][0])[-1]
    return rebuild(network, {hidden.name: _resized(units)}, weights=weights)


def _resized(units: int) -> Callable[[Any, Any], Any]:
    def change(layer: Any, inputs: Any) -> Any:
        return type(layer).from_config(layer.get_config() | {"units": units})(inputs)

    return change


# ---- outputs -----------------------------------------------------------------------------------------------------


def output_dense(network: keras.Model) -> keras.layers.Dense:
    """The dense layer whose units are the network's answers.

    Raises:
        RequestError: the answers come from something else.
    """
    operation = network.outputs[0]._keras_history.operation
    while isinstance(operation, (*_ELEMENTWISE, keras.layers.Softmax)):
        operation = operation.input._keras_history.operation
    if not isinstance(operation, keras.layers.Dense) or len(operation.output.shape) != 2:
        raise RequestError(
            f"The answers of '{network.name}' come from '{operation.name}', which is no dense layer.",
            "Build the network with one of featherlite's heads: plain, dense or cosine.",
        )
    return operation


def has_fixed_columns(dense: keras.layers.Dense) -> bool:
    """Whether the layer holds directions alone, each of length one: the cosine head's."""
    return isinstance(dense.kernel_constraint, keras.constraints.UnitNorm)


def with_outputs(network: keras.Model, kernel: Floats, bias: Floats | None) -> keras.Model:
    """The network with other answers: kernel float [features, classes], bias [classes] where its layer has one."""
    dense = output_dense(network)
    weights = [kernel] if bias is None or not dense.use_bias else [kernel, bias]
    return rebuild(network, {dense.name: _resized(kernel.shape[1])}, weights={dense.name: weights})


def dense_part(network: keras.Model) -> tuple[str, ...]:
    """Names of the layers with weights that work on pooled features [n, features]: those a head of dense layers has."""
    before: dict[int, list[Any]] = {}
    for source, target in edges(network):
        before.setdefault(id(target), []).append(source)
    found: set[str] = set()
    seen, queue = set[int](), deque(_flat([network.outputs[0]._keras_history.operation]))
    while queue:
        operation = queue.popleft()
        if id(operation) in seen:
            continue
        seen.add(id(operation))
        if getattr(operation, "weights", None):
            found.add(operation.name)
        queue.extend(_flat(before.get(id(operation), [])))
    return tuple(layer.name for layer in network.layers if layer.name in found)


def _flat(operations: Iterable[Any]) -> list[Any]:
    return [one for one in operations if all(len(tensor.shape) == 2 for tensor in keras.tree.flatten(one.output))]
