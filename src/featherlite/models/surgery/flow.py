"""How channels pass each kind of layer: made, carried on, tied together, laid side by side, or mixed for good."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import keras

from featherlite.models.fusing import activation_name
from featherlite.models.surgery.layout import Flow, Layout
from featherlite.models.surgery.rebuild import nodes_of

__all__ = ["follow"]


def follow(network: keras.Model) -> Flow:
    """The flow of channels from the photo to the logits.

    Raises:
        RequestError: a layer is used more than once: its channels would have to be two things.
    """
    flow = Flow()
    nodes = {id(node.operation): node for node in nodes_of(network)}
    _find_unit_products(flow, nodes)
    layouts: dict[tuple[int, int], Layout] = {}
    for operation in network.operations:
        node = nodes[id(operation)]
        into = [layouts[_key(tensor)] for tensor in node.input_tensors]
        for tensor, layout in zip(node.output_tensors, _behind(flow, node, into), strict=True):
            layouts[_key(tensor)] = layout
    for tensor in network.outputs:
        flow.protect(layouts[_key(tensor)], "they are the logits")
    return flow


def _key(tensor: Any) -> tuple[int, int]:
    return id(tensor._keras_history.operation), tensor._keras_history.tensor_index


def _behind(flow: Flow, node: Any, into: list[Layout]) -> list[Layout]:
    """The layout of each output of a node; what is not understood protects all that goes in."""
    operation, outputs = node.operation, node.output_tensors
    if isinstance(operation, keras.layers.InputLayer):
        return [flow.block(operation.name, outputs[0].shape[-1], "they are the photo's")]
    out = _passed(flow, node, into) if len(outputs) == 1 else None
    if out is not None:
        flow.inputs[operation.name], flow.outputs[operation.name] = into[0], out
        return [out]
    reason = f"nothing is known of how they pass '{operation.name}' ({type(operation).__name__})"
    for layout in into:
        flow.protect(layout, reason)
    names = [operation.name, *(f"{operation.name}:{number}" for number in range(1, len(outputs)))]
    widths = [tensor.shape[-1] if len(tensor.shape) > 1 else 1 for tensor in outputs]
    return [flow.block(name, width or 1, reason) for name, width in zip(names, widths, strict=True)]


Rule = Callable[[Flow, Any, list[Layout]], Layout | None]
"""(the flow so far, a node of the graph, the layouts of its inputs) -> its output's; None where that is not known."""


def _passed(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:
    operation = node.operation
    if getattr(operation, "data_format", "channels_last") != "channels_last":
        return None
    rules = LAYERS if isinstance(operation, keras.Layer) else OPERATIONS
    rule = rules.get(type(operation).__name__)
    stock = type(operation).__module__.startswith("keras.src.")
    return rule(flow, node, into) if rule is not None and stock else None


def _by_channel(layer: Any) -> bool:
    """Whether the layer's activation, if it has one, treats each channel by itself."""
    return activation_name(layer) in ACTIVATIONS


def _makes(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001 - as all rules
    """A kernel that meets all channels and makes new ones."""
    layer = node.operation
    if getattr(layer, "groups", 1) != 1:
        return None
    flow.kernels.append(layer.name)
    mixed = "" if _by_channel(layer) else f"the activation of '{layer.name}' mixes them"
    return flow.block(layer.name, int(node.output_tensors[0].shape[-1]), mixed)


def _depthwise(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001
    layer = node.operation
    return into[0] if layer.depth_multiplier == 1 and _by_channel(layer) else None


def _carries(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001
    """Each channel by itself, whatever happens to it."""
    return into[0] if len(into) == 1 and _by_channel(node.operation) else None


def _scales(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001
    """Times a number, plus a number; not one a channel."""
    layer = node.operation
    return into[0] if all(isinstance(one, int | float) for one in (layer.scale, layer.offset)) else None


def _normalizes(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:
    """Each channel by itself, or over all of them."""
    layer, last = node.operation, len(node.input_tensors[0].shape) - 1
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    if axes not in ([-1], [last]):
        return None
    if isinstance(layer, keras.layers.BatchNormalization):
        return into[0]
    flow.even.append((layer.name, into[0]))
    return replace(into[0], unit=True) if isinstance(layer, keras.layers.UnitNormalization) else into[0]


def _flattens(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:
    """Every place's channels in turn."""
    shape = node.input_tensors[0].shape
    places = math.prod(size or 0 for size in shape[1:-1])
    if places * flow.size(into[0]) != node.output_tensors[0].shape[-1]:
        return None
    return replace(into[0], tiles=into[0].tiles * places)


def _reshapes(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:
    """A last axis that is kept, or all laid out in one."""
    before, after = node.input_tensors[0].shape, node.output_tensors[0].shape
    if before[-1] == after[-1]:
        return into[0]
    return _flattens(flow, node, into) if len(after) == 2 else None


def _joins(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001
    """Channels side by side."""
    if node.operation.axis not in (-1, len(node.output_tensors[0].shape) - 1):
        return None
    if any(one.tiles > 1 or one.unit for one in into):
        return None
    return Layout(tuple(block for one in into for block in one.groups))


def _ties(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:
    """Sums, products and their like: channel i with channel i; what has one channel meets all."""
    name = node.operation.name
    if len(into) == 1:
        return _with_numbers(flow, node, into)
    width = max(flow.size(one) for one in into)
    many = [one for one in into if flow.size(one) == width]
    for one in into:
        if flow.size(one) < width:
            flow.protect(one, f"'{name}' spreads them over other channels")
    if name in flow.unit_products:
        flow.even.append((name, many[0]))
        return replace(many[0], unit=True)
    for other in many[1:]:
        flow.tie(many[0], other, name)
    return many[0]


def _with_numbers(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001
    """One tensor and plain numbers, not one a channel."""
    given = keras.tree.flatten([node.arguments.args, node.arguments.kwargs])
    plain = (int, float, str, type(None), keras.KerasTensor)
    return into[0] if len(into) == 1 and all(isinstance(one, plain) for one in given) else None


def _sums(flow: Flow, node: Any, into: list[Layout]) -> Layout | None:  # noqa: ARG001
    """The squares of a length that the values are then divided by."""
    name = node.operation.name
    return flow.block(name, 1, f"'{name}' sums over all channels") if name in flow.unit_sums else None


def _find_unit_products(flow: Flow, nodes: Mapping[int, Any]) -> None:
    """Notes the products x / |x|, spelled x * rsqrt(max(sum(x * x), tiny)) with each part used only there."""
    uses: dict[tuple[int, int], int] = {}
    for node in nodes.values():
        for tensor in node.input_tensors:
            uses[_key(tensor)] = uses.get(_key(tensor), 0) + 1

    def before(tensor: Any, *kinds: str) -> Any:
        """What goes into the operation that made the tensor, where it is of these kinds and serves nothing else."""
        node = nodes[id(tensor._keras_history.operation)]
        wanted = type(node.operation).__name__ in kinds and uses[_key(tensor)] == 1
        return node.input_tensors[0] if wanted and len(node.input_tensors) == 1 else None

    for node in nodes.values():
        if type(node.operation).__name__ != "Multiply" or len(node.input_tensors) != 2:
            continue
        for values, inverse in (node.input_tensors, node.input_tensors[::-1]):
            length = before(inverse, "Rsqrt")
            floored = None if length is None else before(length, "Maximum")
            total = length if floored is None else floored
            squares = None if total is None else before(total, "Sum")
            source = None if squares is None else before(squares, "Square")
            if source is not None and _key(source) == _key(values) and total.shape[-1] == 1:
                flow.unit_products.add(node.operation.name)
                flow.unit_sums.add(total._keras_history.operation.name)


ACTIVATIONS = frozenset(
    {
        *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
        *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
        *("softplus", "softsign", "sparse_plus", "squareplus", "swish", "tanh", "tanh_shrink", "threshold"),
    }
)
"""Activations that look at one number at a time."""

LAYERS: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(("Conv2D", "Dense"), _makes),
        "DepthwiseConv2D": _depthwise,
        **dict.fromkeys(("BatchNormalization", "LayerNormalization", "UnitNormalization"), _normalizes),
        **dict.fromkeys(("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU"), _carries),
        **dict.fromkeys(("Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout2D"), _carries),
        **dict.fromkeys(("AveragePooling2D", "MaxPooling2D"), _carries),
        **dict.fromkeys(("GlobalAveragePooling2D", "GlobalMaxPooling2D"), _carries),
        **dict.fromkeys(("Cropping2D", "UpSampling2D", "ZeroPadding2D"), _carries),
        "Rescaling": _scales,
        "Flatten": _flattens,
        "Reshape": _reshapes,
        "Concatenate": _joins,
        **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), _ties),
    }
)
"""What is known of Keras's layers, by class."""

OPERATIONS: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys(("Add", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide"), _ties),
        **dict.fromkeys(("Abs", "Absolute", "Clip", "Exp", "Log", "Negative", "Power", "Rsqrt"), _with_numbers),
        **dict.fromkeys(("Sigmoid", "Silu", "Sqrt", "Square", "Tanh"), _with_numbers),
        **dict.fromkeys(("Gelu", "HardSigmoid", "HardSilu", "Relu", "Relu6"), _with_numbers),
        "Sum": _sums,
    }
)
"""What is known of bare operations, by class."""
