"""Quantization points: the layers whose outputs an int8 artefact stores, each with a range of its own.

LiteRT fuses a convolution with the batch normalization and the ReLU behind it, so that only the end of such a chain is
ever stored; pooling and reshaping keep the range of what they are given; a sigmoid's is fixed. What is left are the
points. Which they are was read off the converter: `tests/unit/quantize/test_points.py` holds these rules against the
artefacts of every family of networks.
"""

from __future__ import annotations

from typing import Any, Final

import keras

from featherlite.models.fusing import (
    CLAMPED,
    FUSED_ACTIVATIONS,
    KERNELS,
    TRAINING_ONLY,
    activation_name,
    is_clamp,
    is_linear,
)
from featherlite.models.surgery.flow import follow
from featherlite.models.surgery.folding import channel_map
from featherlite.models.surgery.rebuild import edges, rebuild

__all__ = ["apart", "ends", "idle_means", "points", "ties", "unit_products"]

FIXED: Final = ("sigmoid", "softmax", "tanh")
"""Activations whose outputs have a fixed range in int8."""

SAME_RANGE: Final = frozenset(
    (
        *("AveragePooling2D", "Concatenate", "Cropping2D", "ExpandDims", "Flatten", "GetItem", "GlobalMaxPooling2D"),
        *("Max", "MaxPooling2D", "Maximum", "Minimum", "Permute", "Reshape", "Squeeze", "Transpose", "UpSampling2D"),
        "ZeroPadding2D",
    )
)
"""Layers whose output has the scale of their input."""

ADDING: Final = ("hard_sigmoid", "hard_tanh")
"""Activations that begin with a sum or a clamp which the kernel before them takes up."""


def points(network: keras.Model) -> tuple[str, ...]:
    """Names of the layers whose outputs are stored in int8 with a range of their own, in the order of the graph.

    Inline activations that are not fused (`FUSED_ACTIVATIONS`) have a second stored value inside their layer, which no
    name stands for: `apart` makes two layers of them.
    """
    behind, unit = _consumers(network), unit_products(network)
    fused = {one.name for one in network.operations if _fused(one, behind)}
    last = {behind[name][0].name for name in fused}
    taken_up = {one.name for one in network.operations if one.name not in last and _taken_up(one, behind)}
    gone = {*fused, *taken_up, *unit, *(name for inside in unit.values() for name in inside), *idle_means(network)}
    return tuple(str(one.name) for one in network.operations if _stored(one) and one.name not in gone)


def unit_products(network: keras.Model) -> dict[str, tuple[str, ...]]:
    """Products x / |x|, which LiteRT computes as one L2_NORMALIZATION of a fixed range, with the layers inside of each.

    Raises:
        RequestError: a layer of a network that normalizes so is used more than once.
    """
    if not any(_kind(one) == "Rsqrt" for one in network.operations):
        return {}
    before, found = _sources(network), dict[str, tuple[str, ...]]()
    for name in follow(network).unit_products:
        inside = [next(one for one in before[name] if _kind(one) == "Rsqrt")]
        while _kind(inside[-1]) != "Square":
            inside += before[inside[-1].name]
        found[name] = tuple(str(one.name) for one in inside)
    return found


def ties(network: keras.Model) -> tuple[tuple[str, ...], ...]:
    """Groups of points that must have one range, since a concatenation stores them side by side; input order."""
    held = _held(network)
    groups: list[set[str]] = []
    for operation in network.operations:
        joined = held[operation.name] if _kind(operation) == "Concatenate" else set()
        if len(joined) > 1:
            overlapping = [group for group in groups if group & joined]
            groups = [group for group in groups if not group & joined] + [joined.union(*overlapping)]
    order = {name: place for place, name in enumerate(points(network))}
    return tuple(tuple(sorted(group, key=order.__getitem__)) for group in groups)


def ends(network: keras.Model) -> frozenset[str]:
    """The points whose values the network puts out: its logits."""
    return frozenset(_held(network)[network.outputs[0]._keras_history.operation.name])


def _held(network: keras.Model) -> dict[str, set[str]]:
    """By operation, the points whose values, through layers that keep the range, it puts out."""
    stored, before, found = set(points(network)), _sources(network), dict[str, set[str]]()
    idle = idle_means(network)
    for operation in network.operations:  # each comes behind all that it is given
        kept = _kind(operation) in SAME_RANGE | TRAINING_ONLY or is_linear(operation) or operation.name in idle
        given = [found[source.name] for source in before[operation.name]] if kept else []
        found[operation.name] = {operation.name} if operation.name in stored else set().union(*given)
    return found


def apart(network: keras.Model) -> keras.Model:
    """The same network with every inline activation that is not fused as a layer of its own, `<name>_activation`.

    The network itself where there is none.
    """
    inline = [layer.name for layer in network.layers if _kind(layer) in KERNELS and not _fusable_inline(layer)]
    return rebuild(network, dict.fromkeys(inline, _split)) if inline else network


def _split(layer: Any, inputs: Any) -> Any:
    activation, layer.activation = layer.activation, keras.activations.linear
    return keras.layers.Activation(activation, name=f"{layer.name}_activation")(layer(inputs))


def _kind(operation: Any) -> str:
    return type(operation).__name__


def _fusable_inline(layer: Any) -> bool:
    return activation_name(layer) in FUSED_ACTIVATIONS


def idle_means(network: keras.Model) -> frozenset[str]:
    """Averages of one pixel that become a map again: those the converter leaves out, one before a head it keeps."""
    behind = _consumers(network)
    return frozenset(
        one.name
        for one in network.operations
        if _kind(one) == "GlobalAveragePooling2D"
        and set(one.input.shape[1:3]) == {1}
        and (one.keepdims or all(_kind(next_) == "Reshape" for next_ in behind.get(one.name, [None])))
    )


def _stored(operation: Any) -> bool:
    """Whether what the layer computes would have a range of its own if nothing were fused."""
    kind = _kind(operation)
    if kind in SAME_RANGE | TRAINING_ONLY | {"InputLayer", "Sigmoid", "Softmax", "Tanh"} or is_linear(operation):
        return False
    return activation_name(operation) not in FIXED


def _fused(operation: Any, behind: dict[str, list[Any]]) -> bool:
    """Whether the one layer behind is computed together with this one, so that its output alone is stored."""
    consumers = behind.get(operation.name, [])
    if len(consumers) != 1 or activation_name(operation) != "linear" or is_clamp(operation):
        return False
    kind, target = _kind(operation), consumers[0]
    if kind in KERNELS and (channel_map(target) is not None or activation_name(target) in ADDING):
        return True
    return kind in CLAMPED and is_clamp(target)


def _taken_up(operation: Any, behind: dict[str, list[Any]]) -> bool:
    """Whether this multiplies by a number that goes into the kernel of the one dense layer behind."""
    consumers = behind.get(operation.name, [])
    if _kind(operation) != "Rescaling" or [_kind(one) for one in consumers] != ["Dense"]:
        return False
    plain = isinstance(operation.scale, int | float) and operation.offset == 0
    return plain and len(operation.output.shape) == 2


def _sources(network: keras.Model) -> dict[str, list[Any]]:
    """What each operation is given, by its name."""
    given: dict[str, list[Any]] = {operation.name: [] for operation in network.operations}
    for source, target in edges(network):
        given[target.name].append(source)
    return given


def _consumers(network: keras.Model) -> dict[str, list[Any]]:
    """What takes each operation's output, seen through the layers that are gone after training."""
    taken: dict[str, list[Any]] = {}
    for source, target in reversed(edges(network)):
        gone = _kind(target) in TRAINING_ONLY or is_linear(target)
        # Reversed order: what stands behind a vanishing layer is known by then.
        taken.setdefault(source.name, []).extend(taken.get(target.name, []) if gone else [target])
    return taken
