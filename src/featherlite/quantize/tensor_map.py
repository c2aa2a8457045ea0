"""Which tensor of an artefact holds what which layer of the network puts out.

A slimmed artefact names no tensor. So the network is converted once more, in float32, where each tensor is named after
the layers that were fused into it, and the two artefacts' operations are laid side by side: they have the same kinds
and shapes in the same order. Each pairing is proven by a photo: what the float32 artefact has at a tensor has to be
what Keras computes at the layer; whatever differs (the middle of a swish, say) is no layer's output.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.convert import convert
from featherlite.models.golden import draw_inputs
from featherlite.models.network import network_bytes
from featherlite.models.prescribed import layers_of
from featherlite.quantize.insides import Insides
from featherlite.quantize.rerun import Rerun
from featherlite.runtime.flatbuffer import ArtefactFacts, OpFacts

__all__ = ["Place", "places"]

BETWEEN: Final = ("QUANTIZE", "DEQUANTIZE")
"""Operations that an artefact in integers has and one in float has not."""

TOLERANCE: Final = 1e-3
"""The largest difference, as a share of the largest value, between two computations of the same thing in float32."""


@dataclass(frozen=True)
class Place:
    """A tensor that holds a layer's output.

    `operations` are the kinds that compute it, in the artefact, from the outputs of the layers `parents`.
    """

    layer: str
    tensor: int
    operations: tuple[str, ...]
    parents: tuple[str, ...]


def places(network: keras.Model, artefact: ArtefactFacts) -> tuple[Place, ...]:
    """The layers' outputs that the artefact of the network stores, in the order of execution, the photo itself first.

    Raises:
        ExportError: the network cannot be converted.
    """
    with tempfile.TemporaryDirectory(prefix="featherlite-map-") as folder:
        source, target = Path(folder, "network.keras"), Path(folder, "network.tflite")
        source.write_bytes(network_bytes(network))
        convert(source, target, "float32")
        named = Insides(target.read_bytes(), reference=False)
    layers = _proven(network, named)
    found = {artefact.input.index: network.inputs[0]._keras_history.operation.name}
    for ours, theirs in _aligned(artefact, named.facts):
        layer = layers.get(theirs.outputs[0])
        if layer is not None:
            found[ours.outputs[0]] = layer
    return tuple(_placed(artefact, found))


def _proven(network: keras.Model, named: Insides) -> dict[int, str]:
    """By tensor of the float32 artefact, the layer of which it holds the output."""
    scopes = [operation.name for operation in network.operations]
    computed = {op.outputs[0] for op in named.facts.ops if op.outputs}
    candidates = {index: layers_of(named.facts.tensors[index].name, scopes) for index in computed}
    candidates[named.facts.output.index] = (network.outputs[0]._keras_history.operation.name,)
    photo = draw_inputs(*network.input_shape[1:3])[-1:]
    values = named.look(photo, candidates)
    floats = Rerun(network).floats(photo)
    found = {}
    for tensor, names in sorted(candidates.items()):
        for name in reversed(names):
            if _equal(values[tensor][0], floats[name]):
                found[tensor] = name
                break
    return found


def _equal(ours: NDArray[Any], theirs: Any) -> bool:
    flat = np.asarray(theirs, dtype=np.float32).reshape(-1)
    if ours.shape != flat.shape:
        return False
    return bool(np.abs(ours - flat).max() <= TOLERANCE * max(float(np.abs(flat).max()), TOLERANCE))


def _aligned(ours: ArtefactFacts, theirs: ArtefactFacts) -> Iterator[tuple[OpFacts, OpFacts]]:
    """The operations of two artefacts of one network that do the same."""
    sides: list[list[OpFacts]] = [
        [op for op in facts.ops if op.name not in BETWEEN and op.outputs] for facts in (ours, theirs)
    ]
    first, second = ([(op.name, op.output_shape) for op in side] for side in sides)
    for block in SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            yield sides[0][block.a + step], sides[1][block.b + step]


def _placed(artefact: ArtefactFacts, found: Mapping[int, str]) -> Iterator[Place]:
    maker = {output: op for op in artefact.ops for output in op.outputs}
    yield Place(found[artefact.input.index], artefact.input.index, (), ())
    told = {found[artefact.input.index]}
    last = {layer: tensor for tensor, layer in found.items()}
    for op in artefact.ops:
        tensor = op.outputs[0] if op.outputs else -1
        if tensor not in found or found[tensor] in told or last[found[tensor]] != tensor:
            continue
        told.add(found[tensor])
        steps, parents, pending = {op.index: op.name}, dict[str, None](), list(op.inputs)
        while pending:
            taken = pending.pop(0)
            if taken in found:
                parents[found[taken]] = None
            elif taken in maker and maker[taken].index not in steps:
                steps[maker[taken].index] = maker[taken].name
                pending += maker[taken].inputs
        operations = tuple(name for _, name in sorted(steps.items()) if name not in BETWEEN)
        yield Place(found[tensor], tensor, operations, tuple(parents))
