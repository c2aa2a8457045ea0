"""A network computed one layer at a time, so that what a layer does can be changed just before it is its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import keras

__all__ = ["stepwise"]

Visit = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]
"""(operation, what it is given, options) -> its output; it calls `operation(*given, **options)`, once or more."""


def stepwise(network: keras.Model, inputs: Any, visit: Visit) -> Any:
    """The network's output for `inputs` [n, height, width, 3], as in prediction, each operation computed by `visit`.

    Operations come after all that they need. Where a layer's weights are changed on its turn, everything behind it is
    computed with the new ones. What no later operation needs is let go, so that the memory of two or three feature
    maps of n photos is enough. Called as it is nothing is compiled; it may also be traced.
    """
    # Keras's own way through the graph keeps every feature map to the end.
    nodes = [
        node
        for depth in sorted(network._nodes_by_depth, reverse=True)
        for node in network._nodes_by_depth[depth]
        if node.operation is not None and not node.is_input
    ]
    awaited = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    (output,) = network.outputs
    awaited[id(output)] += 1
    found = {id(network.inputs[0]): keras.ops.convert_to_tensor(inputs)}
    for node in nodes:
        arguments, options = node.arguments.fill_in(found)
        if getattr(node.operation, "_call_has_training_arg", False):
            options = {**options, "training": False}
        made = visit(node.operation, arguments, options)
        found |= {id(tensor): value for tensor, value in zip(node.outputs, keras.tree.flatten(made), strict=True)}
        del arguments, options, made
        for tensor in node.input_tensors:
            awaited[id(tensor)] -= 1
            if not awaited[id(tensor)]:
                found.pop(id(tensor), None)
    return found[id(output)]
