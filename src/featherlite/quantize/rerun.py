"""A network computed again with other values at some of its layers, from there on alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.surgery.rebuild import edges
from featherlite.preprocess import network_input

__all__ = ["Rerun"]

Values = dict[str, Any]
"""What layers put out, by their names."""


class Rerun:
    """A network whose layers' outputs can be looked at and replaced; it computes as in prediction."""

    def __init__(self, network: keras.Model) -> None:
        self.network = network
        self.output = network.outputs[0]._keras_history.operation.name

    def floats(self, photos: NDArray[np.uint8]) -> Values:
        """What each layer puts out for uint8 photos [n, height, width, 3]."""
        found: Values = {}
        self._run(network_input(photos), found, {operation.name for operation in self.network.operations})
        return found

    def again(self, floats: Values, given: Mapping[str, Any], wanted: str) -> Any:
        """What the layer `wanted` puts out where those in `given` put out that, the others as in `floats`."""
        found = {**floats, **given}
        self._run(floats[self.network.inputs[0]._keras_history.operation.name], found, self._between(given, wanted))
        return found[wanted]

    def _run(self, photos: Any, found: Values, needed: Collection[str]) -> None:
        """Computes the needed layers, in the order of the graph, and puts what they make into `found`."""

        def watched(operation: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if operation.name in needed:
                    if getattr(operation, "_call_has_training_arg", False):
                        kwargs.setdefault("training", False)
                    found[operation.name] = operation(*args, **kwargs)
                return found[operation.name]

            return call

        inputs = self.network.inputs[0]._keras_history.operation.name
        found.setdefault(inputs, keras.ops.convert_to_tensor(photos))
        self.network._run_through_graph(found[inputs], operation_fn=watched)

    def _between(self, given: Collection[str], wanted: str) -> set[str]:
        """The layers on the ways from the given ones to the wanted one."""
        above: set[str] = set()
        pending = [wanted]
        while pending:
            name = pending.pop()
            if name not in above and name not in given:
                above.add(name)
                pending += self._neighbors[0].get(name, [])
        below: set[str] = set()
        pending = [follower for name in given for follower in self._neighbors[1].get(name, [])]
        while pending:
            name = pending.pop()
            if name in above and name not in below:
                below.add(name)
                pending += self._neighbors[1].get(name, [])
        return below

    @cached_property
    def _neighbors(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        before: dict[str, list[str]] = {}
        behind: dict[str, list[str]] = {}
        for source, target in edges(self.network):
            before.setdefault(target.name, []).append(source.name)
            behind.setdefault(source.name, []).append(target.name)
        return before, behind
