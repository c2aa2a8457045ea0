"""A network as its int8 artefact computes, in float: built from an ordinary network and the ranges of its points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from featherlite.errors import RequestError
from featherlite.models.fusing import FUSED_ACTIVATIONS, TRAINING_ONLY, activation_name
from featherlite.models.surgery.rebuild import rebuild
from featherlite.quantize.fake_quantization import (
    STEPS,
    FakeConv2D,
    FakeDense,
    FakeDepthwiseConv2D,
    FakeRange,
    FakeSwish,
)
from featherlite.quantize.points import SAME_RANGE, idle_means, points, ties, unit_products
from featherlite.quantize.scheme import INPUT, Scheme, spanning

__all__ = ["fake_quantized", "settled", "unsimulated"]

Unit = Callable[[], Any]
"""What values are whole multiples of, asked for when it is needed: scales change in training."""

RANGE = "_range"
"""What stands behind a point's name in that of its range's layer; a range that several share is named by the first."""

_FAKES: Mapping[str, Any] = {"Conv2D": FakeConv2D, "DepthwiseConv2D": FakeDepthwiseConv2D, "Dense": FakeDense}
_FIXED = {
    "sigmoid": (0.0, STEPS / 256),
    "softmax": (0.0, STEPS / 256),
    "tanh": INPUT,
}
"""Ranges that int8 kernels have whatever their inputs: steps of 1/256, and of 1/128."""
_EXACT = frozenset(
    (
        *("Activation", "Add", "GlobalAveragePooling2D", "Multiply", "ReLU", "Rescaling"),
        *("Softmax", "Sigmoid", "Subtract", "Tanh"),
        *("InputLayer", *TRAINING_ONLY, *SAME_RANGE, *_FAKES),
    )
)
_FOLLOWED = ("linear", "relu", "relu6", "sigmoid", "silu", "softmax", "tanh")
_POOLED = ("AveragePooling2D",)


def fake_quantized(network: keras.Model, scheme: Scheme, **movement: Any) -> keras.Model:
    """The network with its kernels and the outputs of its points on the levels of the scheme; the same layer names.

    The network is one whose BatchNorms are folded and whose activations are apart (`quantize.points`). Behind each
    point stands a `FakeRange`, which `movement` goes to: 'fixed' by default.

    Raises:
        RequestError: the scheme's points are not this network's.
    """
    wanted = points(network)
    different = sorted(set(wanted) ^ set(scheme.activations))
    if different:
        known = "has no range for" if different[0] in wanted else "has a range for, but the network has not,"
        raise RequestError(
            f"quantization.json {known} the point '{different[0]}' of '{network.name}'.",
            "Run quantize_aware or quantize again: the ranges are those of another network.",
        )
    return _Simulation(network, scheme, movement).result()


def settled(network: keras.Model, simulated: keras.Model, scheme: Scheme, method: str) -> Scheme:
    """The scheme that the simulated network has by now; its weights go back into `network`, on their levels."""
    for layer in network.layers:
        if not layer.weights:
            continue
        twin = simulated.get_layer(layer.name)
        values = twin.stored() if type(layer).__name__ in _FAKES else twin.get_weights()
        layer.set_weights([np.asarray(value) for value in values])
    of_point = {name: group[0] for group in ties(network) for name in group}
    ranges = {}
    for name in scheme.activations:
        low, high = simulated.get_layer(of_point.get(name, name) + RANGE).limits()
        ranges[name] = _on_zero(float(low), float(high))
    return Scheme(activations=ranges, input=scheme.input, kernels=scheme.kernels, method=method)


def _on_zero(low: float, high: float) -> tuple[float, float]:
    """The range moved so that zero is one of its 256 levels, as the converter would move it."""
    low, high = spanning(low, high)
    scale = (high - low) / STEPS
    zero = min(max(round(-low / scale), 0), STEPS)
    return -zero * scale, (STEPS - zero) * scale


def unsimulated(network: keras.Model) -> list[str]:
    """Names of the layers whose int8 form holds values inside that the simulation does not round, in graph order."""
    known = {name for inside in unit_products(network).values() for name in inside}
    return [
        str(one.name)
        for one in network.operations
        if one.name not in known and (type(one).__name__ not in _EXACT or activation_name(one) not in _FOLLOWED)
    ]


class _Simulation:
    """One network being laid anew with ranges behind its points."""

    def __init__(self, network: keras.Model, scheme: Scheme, movement: Mapping[str, Any]) -> None:
        self.network, self.kernels = network, scheme.kernels
        self.points = frozenset(scheme.activations)
        self.normalized, self.idle = frozenset(unit_products(network)), idle_means(network)
        self.ranges: dict[str, tuple[FakeRange, int]] = {}
        for group in (*ties(network), *((name,) for name in scheme.activations)):
            if group[0] in self.ranges:
                continue
            low = min(scheme.activations[name][0] for name in group)
            high = max(scheme.activations[name][1] for name in group)
            layer = FakeRange(low, high, places=len(group), name=group[0] + RANGE, **movement)
            self.ranges |= {name: (layer, place) for place, name in enumerate(group)}
        self.input = FakeRange(*scheme.input, name="photo" + RANGE)
        self.photo: list[tuple[Any, Any]] = []
        self.carried: dict[int, FakeRange] = {}
        """By the id of a tensor: the range whose levels it lies on."""
        self.units: dict[int, Unit] = {}
        """By the id of a tensor that is not on levels yet: of what its values are whole multiples."""
        self.kept: list[Any] = []
        self.fakes: dict[str, Any] = {}

    def result(self) -> keras.Model:
        """The simulated network."""
        inputs = (keras.layers.InputLayer,)
        changes = {one.name: self._laid for one in self.network.operations if not isinstance(one, inputs)}
        return rebuild(self.network, changes)

    def _laid(self, operation: Any, inputs: Any) -> Any:
        several = isinstance(inputs, list | tuple)
        given = [self._rounded_photo(one) for one in (inputs if several else [inputs])]
        values = self._called(operation, given, several)
        kind, held = type(operation).__name__, self.carried.get(id(given[0]))
        activation = activation_name(operation) if getattr(operation, "activation", None) is not None else kind.lower()
        unit = self._unit(operation, given)
        if operation.name in self.points:
            layer, place = self.ranges[operation.name]
            if unit is not None:
                layer.units[place] = unit
            return self._marked(layer(values, place=place), layer)
        if unit is not None:
            self.units[id(values)] = unit
            self.kept.append(values)
        fixed = INPUT if operation.name in self.normalized else _FIXED.get(activation)
        if fixed is not None:
            layer = FakeRange(*fixed, name=operation.name + RANGE)
            return self._marked(layer(values), layer)
        if held is not None and (kind in SAME_RANGE | TRAINING_ONLY or operation.name in self.idle):
            if kind in _POOLED:
                values = held(values, pooled=True)
            return self._marked(values, held)
        return values

    def _called(self, operation: Any, given: list[Any], several: bool) -> Any:
        """The output of the operation, or of the one that stands for it."""
        kind = type(operation).__name__
        if kind in _FAKES:
            fake = _FAKES[kind].from_config(operation.get_config() | {"kernels": self.kernels})
            self.fakes[operation.name] = fake
            return fake(given[0])
        if kind == "Activation" and activation_name(operation) == "silu":
            return FakeSwish(name=operation.name)(given[0])
        if not several:
            return operation(given[0])
        # A layer takes what it joins as a list; a bare operation takes its arguments one by one.
        return operation(given) if isinstance(operation, keras.layers.Layer) else operation(*given)

    def _unit(self, operation: Any, given: list[Any]) -> Unit | None:
        """Of what the operation's outputs are whole multiples, where its int8 kernel takes them so."""
        kind, sources = type(operation).__name__, [self.carried.get(id(one)) for one in given]
        first = sources[0]
        if first is None:
            clamps = kind in ("ReLU", *TRAINING_ONLY) or (
                kind == "Activation" and activation_name(operation) in FUSED_ACTIVATIONS
            )
            return self.units.get(id(given[0])) if clamps else None
        if kind in _FAKES:
            layer = self.fakes[operation.name]
            layer.unit = lambda: first.scale() * layer.steps()
            found: Unit = layer.unit
            return found
        if kind == "Activation" and activation_name(operation) == "silu":
            return lambda: first.scale() / 256
        if kind == "GlobalAveragePooling2D":
            places = math.prod(given[0].shape[1:-1])
            return lambda: first.scale() / places
        if kind == "Multiply" and len(sources) == 2 and (second := sources[1]) is not None:
            return lambda: first.scale() * second.scale()
        return None

    def _rounded_photo(self, value: Any) -> Any:
        """The value; the network's input on the levels of the photo's pixels."""
        history = getattr(value, "_keras_history", None)
        if history is None or not isinstance(history.operation, keras.layers.InputLayer):
            return value
        for photo, laid in self.photo:
            if photo is value:
                return laid
        self.photo.append((value, self._marked(self.input(value), self.input)))
        return self.photo[-1][1]

    def _marked(self, value: Any, layer: FakeRange) -> Any:
        self.carried[id(value)] = layer
        self.kept.append(value)  # an id is a tensor's own only while it lives
        return value
