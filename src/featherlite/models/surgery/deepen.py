"""A deeper network that answers as before: blocks put in whose branch adds nothing until it is trained."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count as counted
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.backbones.card import MOMENTUM
from featherlite.models.contract import cut_points
from featherlite.models.fusing import activation_name
from featherlite.models.surgery.blocks import HEAD, ResidualBlock, residual_blocks
from featherlite.models.surgery.rebuild import Change, edges, rebuild

__all__ = ["deepened"]

Weights = list[NDArray[Any]]


@dataclass(frozen=True)
class Place:
    """Where a block may be put in: behind the operation `after`, which its `names` are made from.

    `lay` puts it behind a tensor under other names; `weights` are its layers' by their old names.
    """

    after: str
    names: tuple[str, ...]
    lay: Callable[[Any, Callable[[str], str]], Any]
    weights: Callable[[np.random.Generator], dict[str, Weights]]


def deepened(network: keras.Model, count: int, seed: int) -> tuple[keras.Model, tuple[str, ...]]:
    """The network with `count` identity blocks more, spread over its depth, and the names of their layers with weights.

    A new block is a copy of a residual block and stands behind it; only the last layer of its branch is zero. A network
    without residual blocks gets sums around a depthwise and a pointwise convolution behind its own activations. The
    layers of the n-th copy end in `_again<n>`.

    Source: T. Chen, I. Goodfellow and J. Shlens, "Net2Net" (arXiv:1511.05641), section 2.4, "Net2DeeperNet", with a
    branch of zero, as H. Zhang et al. start residual networks (arXiv:1901.09321), in place of an identity kernel.

    Raises:
        RequestError: there is no place for a block.
    """
    operations = {operation.name: operation for operation in network.operations}
    twins = (_twin(network, operations, block) for block in residual_blocks(network) if not block.why_not)
    places = [twin for twin in twins if twin is not None] or [_plain(operations[name]) for name in _maps(network)]
    if not places:
        raise RequestError(
            f"'{network.name}' has no place for another block: neither a residual block that can be repeated, nor a "
            "feature map on which alone all behind it hangs.",
            "Widen it instead (deepen = 0).",
        )
    random = np.random.default_rng(seed)
    chosen = Counter(int(place) for place in np.linspace(len(places) - 1, 0, count).round())
    taken = set(operations)
    changes: dict[str, Change] = {}
    weights: dict[str, Weights] = {}
    for number, times in sorted(chosen.items()):
        place = places[number]
        naming = [_naming(place.names, ordinal) for ordinal in _free(place.names, taken, times)]
        taken |= {name(old) for name in naming for old in place.names}
        changes[place.after] = _behind(place, naming)
        for name in naming:
            weights |= {name(old): values for old, values in place.weights(random).items()}
    return rebuild(network, changes, weights=weights), tuple(weights)


def _free(names: Iterable[str], taken: Iterable[str], times: int) -> list[int]:
    """The first numbers under which no layer of a copy has the name of another layer."""
    used, stems = set(taken), [_stem(name) for name in names]
    numbers = (number for number in counted(1) if not any(f"{stem}_again{number}" in used for stem in stems))
    return [next(numbers) for _ in range(times)]


def _stem(name: str) -> str:
    return re.sub(r"_again\d+$", "", name)


def _naming(names: Iterable[str], number: int) -> Callable[[str], str]:
    renamed = {name: f"{_stem(name)}_again{number}" for name in names}
    return renamed.__getitem__


def _behind(place: Place, naming: list[Callable[[str], str]]) -> Change:
    """The change that puts copies of a block behind a layer, one behind the other."""

    def change(layer: Any, inputs: Any) -> Any:
        tensor = layer(inputs)
        for name in naming:
            tensor = place.lay(tensor, name)
        return tensor

    return change


# ---- a residual block again --------------------------------------------------------------------------------------


def _twin(network: keras.Model, operations: dict[str, Any], block: ResidualBlock) -> Place | None:
    """The place of a copy of this block; None where its branch cannot be zero or needs more than the shortcut."""
    own = {*block.branch, block.shortcut}
    if any(source.name not in own for source, target in edges(network) if target.name in block.branch):
        return None
    last = _zeroable(operations[block.sum].input[1 - block.port])
    if last is None or last not in block.branch:
        return None
    after = [target for source, target in edges(network) if source.name == block.sum]
    # Behind a ReLU the copy sees what its original saw, and the ReLU behind it again changes nothing.
    again = after[0] if len(after) == 1 and _is_idempotent(after[0]) else None
    layers = [operations[name] for name in (*block.branch, block.sum)] + ([again] if again is not None else [])
    shortcut = keras.tree.flatten(operations[block.shortcut].output)[0]

    def lay(tensor: Any, name: Callable[[str], str]) -> Any:
        laid = {id(shortcut): tensor}
        for layer in layers:
            (node,) = (one for one in layer._inbound_nodes if one.output_tensors[0] is layer.output)
            args, kwargs = keras.tree.map_structure(
                lambda one: laid.get(id(one), one), (node.arguments.args, node.arguments.kwargs)
            )
            copy = type(layer).from_config(layer.get_config())
            copy.name = name(layer.name)
            laid[id(layer.output)] = copy(*args, **kwargs)
        return laid[id(layers[-1].output)]

    def weights(_random: np.random.Generator) -> dict[str, Weights]:
        found = {one.name: one.get_weights() for one in layers if getattr(one, "weights", None)}
        return found | {last: _zeroed(operations[last], found[last])}

    place = block.sum if again is None else str(again.name)
    return Place(place, tuple(layer.name for layer in layers), lay, weights)


def _zeroable(tensor: Any) -> str | None:
    """The layer at the end of a branch that can make all of it zero."""
    layer = tensor._keras_history.operation
    while isinstance(layer, keras.layers.Dropout) or (
        hasattr(layer, "activation") and activation_name(layer) == "linear"
    ):
        if layer.weights:
            break
        layer = layer.input._keras_history.operation
    if isinstance(layer, keras.layers.BatchNormalization):
        return str(layer.name) if layer.scale else None
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    return str(layer.name) if isinstance(layer, kinds) and activation_name(layer) == "linear" else None


def _zeroed(layer: keras.layers.Layer, values: Weights) -> Weights:
    """Weights with which a layer answers zero; what BatchNorm has seen stays."""
    kept = 2 if isinstance(layer, keras.layers.BatchNormalization) else 0
    changed = len(values) - kept
    return [np.zeros_like(value) for value in values[:changed]] + values[changed:]


def _is_idempotent(layer: Any) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return not layer.negative_slope and not layer.threshold
    return isinstance(layer, keras.layers.Activation) and activation_name(layer) in ("relu", "relu6")


# ---- a new block -------------------------------------------------------------------------------------------------


def _maps(network: keras.Model) -> list[str]:
    """The layers of the backbone on whose feature map alone all behind it hangs, maps of one place left out."""
    order = {operation.name: number for number, operation in enumerate(network.operations)}
    pairs = [(order[source.name], order[target.name]) for source, target in edges(network)]
    cuts, found = set(cut_points(network)), []
    for layer in network.layers:
        at, shape = order[layer.name], keras.tree.flatten(layer.output)[0].shape
        alone = all(source == at for source, target in pairs if source <= at < target)
        if layer.name not in cuts and not (alone and _activates_itself(layer)):
            continue
        if len(shape) == 4 and shape[1] * shape[2] > 1 and not layer.name.startswith(HEAD):
            found.append(str(layer.name))
    return found


def _activates_itself(layer: Any) -> bool:
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return isinstance(layer, kinds) and activation_name(layer) != "linear"


def _plain(layer: Any) -> Place:
    """The place of a sum around a depthwise and a pointwise convolution behind this layer."""
    channels = int(layer.output.shape[-1])
    depthwise, first, relu, pointwise, second, total = (
        f"{layer.name}_{part}" for part in ("dw", "dw_bn", "relu", "pw", "pw_bn", "add")
    )

    def lay(tensor: Any, name: Callable[[str], str]) -> Any:
        layers = keras.layers
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=name(depthwise))(tensor)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=name(first))(x)
        x = layers.ReLU(6.0, name=name(relu))(x)
        x = layers.Conv2D(channels, 1, use_bias=False, name=name(pointwise))(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=name(second))(x)
        return layers.Add(name=name(total))([tensor, x])

    def weights(random: np.random.Generator) -> dict[str, Weights]:
        zero, one = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        return {
            depthwise: [random.normal(0, np.sqrt(2 / 9), (3, 3, channels, 1)).astype(np.float32)],
            first: [one, zero, zero, one],
            pointwise: [random.normal(0, np.sqrt(2 / channels), (1, 1, channels, channels)).astype(np.float32)],
            second: [zero, zero, zero, one],
        }

    return Place(layer.name, (depthwise, first, relu, pointwise, second, total), lay, weights)
