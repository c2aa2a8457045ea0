"""Maps of single channels (BatchNorm, constants) folded into the convolution or dense layer beside them.

A convolution is linear, so what scales and shifts its output channel by channel is itself a convolution with other
weights. Before a convolution the same holds wherever no padding is seen: padding is zero behind the map, not before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.fusing import activation_name
from featherlite.models.surgery.rebuild import Change, edges, rebuild, skip

__all__ = [
    "ChannelMap",
    "channel_map",
    "fold_batchnorm",
    "fold_constants",
    "is_linear",
    "mapped_input",
    "unfolded_batchnorm",
]

Floats = NDArray[np.float64]

_BATCHNORM = keras.layers.BatchNormalization
_POOLS = (keras.layers.GlobalAveragePooling2D,)
"""What a map of channels may be moved across: a mean of mapped values is the mapped mean."""


@dataclass(frozen=True)
class ChannelMap:
    """value -> gain * value + shift; both float64 [channels]."""

    gain: Floats
    shift: Floats


def fold_batchnorm(network: keras.Model) -> keras.Model:
    """The network without the BatchNorms that a layer beside them can take up: its answers are the same but rounding.

    A BatchNorm goes into the convolution (Conv2D, DepthwiseConv2D) or Dense that it alone follows, else into those that
    alone follow it, where that is exact. The layer keeps its name and has a bias from then on. `unfolded_batchnorm`
    lists those that stay.
    """
    return _Folding(network, batchnorm=True).result()


def fold_constants(network: keras.Model, *, batchnorm: bool = True) -> keras.Model:
    """The network with Rescaling and numbers that are added or multiplied folded likewise; also BatchNorm, if asked.

    Both at once, since one may stand between the other and the layer that takes it up.
    """
    return _Folding(network, constants=True, batchnorm=batchnorm).result()


def unfolded_batchnorm(network: keras.Model) -> dict[str, str]:
    """Names of the BatchNorms that `fold_batchnorm` leaves, each with the reason, in the graph's order."""
    return _Folding(network, batchnorm=True).left


def channel_map(operation: Any) -> ChannelMap | None:
    """What the operation does to each channel alone, where that is a fixed factor and sum; None for all others."""
    if isinstance(operation, keras.layers.BatchNormalization):
        if operation.axis not in (-1, len(operation.input.shape) - 1):
            return None
        count = int(operation.moving_mean.shape[0])
        mean, variance = _floats(operation.moving_mean), _floats(operation.moving_variance)
        gain = (_floats(operation.gamma) if operation.scale else np.ones(count)) / np.sqrt(variance + operation.epsilon)
        return ChannelMap(gain, (_floats(operation.beta) if operation.center else np.zeros(count)) - gain * mean)
    if isinstance(operation, keras.layers.Rescaling):
        return _uniform(operation, _floats(operation.scale), _floats(operation.offset))
    numbers = [value for value in _arguments(operation) if isinstance(value, int | float)]
    if type(operation).__module__.startswith("keras.src.ops") and len(numbers) == len(_arguments(operation)) - 1 == 1:
        return _of_number(operation, float(numbers[0]))
    return None


def _of_number(operation: Any, number: float) -> ChannelMap | None:
    first = isinstance(_arguments(operation)[0], int | float)
    kind = type(operation).__name__
    if kind == "Add":
        return _uniform(operation, 1.0, number)
    if kind == "Subtract":
        return _uniform(operation, -1.0 if first else 1.0, number if first else -number)
    if kind == "Multiply":
        return _uniform(operation, number, 0.0)
    if kind in ("Divide", "TrueDivide") and not first:
        return _uniform(operation, 1.0 / number, 0.0)
    return None


def _uniform(operation: Any, gain: Floats | float, shift: Floats | float) -> ChannelMap | None:
    channels = operation.output.shape[-1]
    if any(np.size(value) not in (1, channels) for value in (gain, shift)):
        return None
    return ChannelMap(*(np.broadcast_to(np.ravel(value).astype(np.float64), channels) for value in (gain, shift)))


def _arguments(operation: Any) -> list[Any]:
    node = operation._inbound_nodes[0]
    return list(keras.tree.flatten([node.arguments.args, node.arguments.kwargs]))


def _floats(value: Any) -> Floats:
    return np.asarray(value, dtype=np.float64)


class _Folding:
    """One folding of a network: which maps go, the weights that take them up, and which maps stay, and why."""

    def __init__(self, network: keras.Model, *, constants: bool = False, batchnorm: bool = False) -> None:
        self.network = network
        self.operations: Mapping[str, Any] = {operation.name: operation for operation in network.operations}
        self.before: dict[str, list[str]] = {name: [] for name in self.operations}
        self.behind: dict[str, list[str]] = {name: [] for name in self.operations}
        for source, target in edges(network):
            self.before[target.name].append(source.name)
            self.behind[source.name].append(target.name)
        self.weights: dict[str, list[Floats]] = {}
        self.folded: list[str] = []
        self.left: dict[str, str] = {}
        is_norm = {name: isinstance(operation, _BATCHNORM) for name, operation in self.operations.items()}
        self._run([name for name, norm in is_norm.items() if (batchnorm if norm else constants)])

    def result(self) -> keras.Model:
        """The folded network."""
        changes: dict[str, Change] = {name: skip(self._place(name)) for name in self.folded}
        changes |= dict.fromkeys(self.weights, _with_bias)
        return rebuild(self.network, changes, weights=self.weights)

    def _run(self, pending: list[str]) -> None:
        """Folds until nothing more can be: one that went may have stood between another and its convolution."""
        maps = {name: found for name in pending if (found := channel_map(self.operations[name])) is not None}
        reasons = dict.fromkeys(pending, "it does not normalize the last axis")
        folded_before = -1
        while folded_before < len(self.folded):
            folded_before = len(self.folded)
            for name in [name for name in maps if name not in self.folded]:
                reasons[name] = self._fold(name, maps[name])
        for name in pending:
            if name not in self.folded and isinstance(self.operations[name], _BATCHNORM):
                self.left[name] = reasons[name]

    def _fold(self, name: str, found: ChannelMap) -> str:
        """Folds the map where it can be; else says why not."""
        if (backward := self._into_former(name, found)) and (forward := self._into_next(name, found)):
            return f"{backward}, and {forward}"
        former = self.before[name][0]
        position = self.behind[former].index(name)
        self.behind[former][position : position + 1] = self.behind[name]
        for target in self.behind[name]:
            self.before[target] = [former if one == name else one for one in self.before[target]]
        self.folded.append(name)
        return ""

    def _into_former(self, name: str, found: ChannelMap) -> str:
        """Folds the map into the layer before it; or says why that cannot be."""
        former = self.before[name][0]
        layer = self.operations[former]
        if not is_linear(layer):
            return f"it follows '{former}' ({type(layer).__name__})"
        if self.behind[former] != [name]:
            return f"'{former}' before it feeds other layers too"
        if is_held(layer):
            return f"the kernel of '{former}' before it is held by a constraint"
        if activation_name(layer) != "linear":
            return f"'{former}' before it ends in its activation ({activation_name(layer)})"
        kernel, bias = self._weights(former)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = kernel * found.gain.reshape(kernel.shape[2:])
        else:
            kernel = kernel * found.gain
        self.weights[former] = [kernel, bias * found.gain + found.shift]
        return ""

    def _into_next(self, name: str, found: ChannelMap) -> str:
        """Folds the map into all layers behind it; or says why that cannot be."""
        takers = self._takers(name)
        if not takers:
            return "nothing follows it"
        for taker in takers:
            layer = self.operations[taker]
            if not is_linear(layer):
                return f"'{taker}' ({type(layer).__name__}) follows it"
            if is_held(layer):
                return f"the kernel of '{taker}' behind it is held by a constraint"
            if np.any(found.shift != 0) and _sees_padding(layer):
                return f"'{taker}' behind it sees padding"
        for taker in takers:
            self.weights[taker] = mapped_input(self.operations[taker], *self._weights(taker), found)
        return ""

    def _takers(self, name: str) -> list[str]:
        """The layers behind, looked for beyond global pooling."""
        takers: list[str] = []
        for target in self.behind[name]:
            takers += self._takers(target) if isinstance(self.operations[target], _POOLS) else [target]
        return takers

    def _weights(self, name: str) -> tuple[Floats, Floats]:
        """Kernel and bias as they are by now; a bias of zeros where there is none."""
        if name not in self.weights:
            layer = self.operations[name]
            kernel, *bias = [_floats(weight) for weight in layer.get_weights()]
            self.weights[name] = [kernel, bias[0] if bias else np.zeros(layer.output.shape[-1])]
        kernel, added = self.weights[name]
        return kernel, added

    def _place(self, name: str) -> int:
        """Which argument of the operation is its input: 1 for the map `2 * x`."""
        if isinstance(self.operations[name], keras.layers.Layer):
            return 0
        return int(isinstance(_arguments(self.operations[name])[0], int | float))


def is_linear(layer: Any) -> bool:
    """Whether it is a convolution or dense layer that takes up a map of its input's channels."""
    if isinstance(layer, keras.layers.Dense):
        return True
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return isinstance(layer, kinds) and layer.data_format == "channels_last"


def is_held(layer: Any) -> bool:
    """Whether training keeps the kernel to something (columns of length one, say) that a factor would break."""
    return any(getattr(layer, name, None) is not None for name in ("kernel_constraint", "depthwise_constraint"))


def _sees_padding(layer: Any) -> bool:
    return not isinstance(layer, keras.layers.Dense) and layer.padding != "valid" and set(layer.kernel_size) != {1}


def mapped_input(layer: Any, kernel: Floats, bias: Floats, found: ChannelMap) -> list[Floats]:
    """Kernel and bias that do to x what the old ones do to gain * x + shift."""
    gain, shift = found.gain, found.shift
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        constant = np.einsum("ijcm,c->cm", kernel, shift).ravel()
        return [kernel * gain[:, None], bias + constant]
    per_group, filters = kernel.shape[-2:]
    first = np.arange(filters) // (filters * per_group // len(gain)) * per_group  # of each filter's group
    seen = first[None, :] + np.arange(per_group)[:, None]
    constant = (kernel * shift[seen]).reshape(-1, filters).sum(axis=0)
    return [kernel * gain[seen], bias + constant]


def _with_bias(layer: Any, inputs: Any) -> Any:
    return type(layer).from_config(layer.get_config() | {"use_bias": True})(inputs)
