"""Squeeze-and-excitation blocks in a graph: found by their shape, and taken out with the least harm.

Source: J. Hu et al., "Squeeze-and-Excitation Networks" (arXiv:1709.01507), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.surgery.activations import GATES, ActivationSite, find_activations
from featherlite.models.surgery.folding import ChannelMap, is_linear, mapped_input
from featherlite.models.surgery.rebuild import edges, rebuild, skip
from featherlite.preprocess import network_input

__all__ = ["SqueezeExcite", "find_squeeze_excite", "mean_gates", "remove_squeeze_excite"]

_LONGEST = 16
"""Operations between the pooled map and the gate, at most."""


@dataclass(frozen=True)
class SqueezeExcite:
    """One block: the product in which it ends, the map that is weighed, and what its weights come from."""

    product: str
    place: int
    """Which input of the product is the map."""
    gate: str
    """The operation whose output, [n, 1, 1, channels], weighs the map."""
    site: ActivationSite | None
    """The sigmoid, or what stands for it, that ends the gate."""
    operations: tuple[str, ...]
    """All that goes with the block, the product among it."""


def find_squeeze_excite(network: keras.Model) -> tuple[SqueezeExcite, ...]:
    """Products of a map with what was made of its own global mean, in the network's order."""
    sites = {site.name: site for site in find_activations(network)}
    found = []
    for operation in network.operations:
        tensors = [] if isinstance(operation, keras.layers.InputLayer) else keras.tree.flatten(operation.input)
        if type(operation).__name__ != "Multiply" or len(tensors) != 2:
            continue
        sources = [tensor._keras_history.operation for tensor in tensors]
        for place in (0, 1):
            chain = _chain(sources[1 - place], sources[place])
            if chain:
                ends = [sites[name] for name in chain if name in sites and sites[name].kind in GATES]
                found.append(
                    SqueezeExcite(operation.name, place, chain[0], ends[0] if ends else None, (operation.name, *chain))
                )
                break
    return tuple(found)


def mean_gates(network: keras.Model, blocks: Sequence[SqueezeExcite], images: Any) -> dict[str, NDArray[np.float64]]:
    """The mean weight of every channel over photos, uint8 [n, h, w, 3]: float64 [channels] by the product's name."""
    if not blocks:
        return {}
    outputs = {operation.name: operation.output for operation in network.operations}
    model = keras.Model(network.inputs[0], {block.product: outputs[block.gate] for block in blocks})
    sums: dict[str, Any] = dict.fromkeys((block.product for block in blocks), 0.0)
    for start in range(0, len(images), 64):
        batch = network_input(np.ascontiguousarray(images[start : start + 64]))
        for name, gate in model(batch, training=False).items():
            values = np.asarray(keras.ops.convert_to_numpy(gate), np.float64)
            sums[name] = sums[name] + values.reshape(-1, values.shape[-1]).sum(axis=0)
    return {name: np.asarray(total / len(images)) for name, total in sums.items()}


def remove_squeeze_excite(
    network: keras.Model, blocks: Sequence[SqueezeExcite], gains: Mapping[str, NDArray[np.float64]]
) -> keras.Model:
    """The network without these blocks; the layers behind weigh each channel by its mean instead, where they can.

    `gains` is what `mean_gates` measured; a block that it lacks, or that no single convolution or dense layer follows,
    is left out without compensation.
    """
    wired, weights = edges(network), dict[str, list[NDArray[np.float64]]]()
    for block in blocks:
        behind = [target for source, target in wired if source.name == block.product]
        if block.product in gains and behind and all(is_linear(layer) for layer in behind):
            found = ChannelMap(gains[block.product], np.zeros_like(gains[block.product]))
            for layer in behind:
                kernel, *bias = [np.asarray(weight, np.float64) for weight in layer.get_weights()]
                weights[layer.name] = [mapped_input(layer, kernel, np.zeros(layer.output.shape[-1]), found)[0], *bias]
    return rebuild(network, {block.product: skip(block.place) for block in blocks}, weights=weights)


def _chain(gate: Any, source: Any) -> tuple[str, ...]:
    """Names of the operations from the gate back to the global mean of the source; empty where it is no such thing."""
    names: list[str] = []
    while len(names) < _LONGEST and not isinstance(gate, keras.layers.InputLayer):
        inputs = keras.tree.flatten(gate.input)
        origins = {id(tensor._keras_history.operation): tensor._keras_history.operation for tensor in inputs}
        names.append(gate.name)
        if _is_global_mean(gate):
            return tuple(names) if set(origins) == {id(source)} else ()
        step = _forerunner(list(origins.values()))
        if step is None:
            return ()
        between, gate = step
        names += between
    return ()


def _forerunner(origins: list[Any]) -> tuple[list[str], Any] | None:
    """The one operation that all of these come from, with those between: an activation may be written with a detour."""
    if len(origins) == 1:
        return [], origins[0]
    if len(origins) != 2:
        return None
    for one, other in (origins, origins[::-1]):
        between, walker = list[str](), other
        for _ in range(4):
            if walker is one:
                return between, one
            if isinstance(walker, keras.layers.InputLayer) or not isinstance(walker.input, keras.KerasTensor):
                break
            between.append(walker.name)
            walker = walker.input._keras_history.operation
    return None


def _is_global_mean(operation: Any) -> bool:
    if isinstance(operation, keras.layers.GlobalAveragePooling2D):
        return True
    return type(operation).__name__ == "Mean" and tuple(operation.axis or ()) in ((1, 2), (2, 1))
