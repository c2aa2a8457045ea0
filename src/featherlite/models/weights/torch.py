"""Tensors of torch given to Keras layers: their names by the matched naming, their axes by the kind of layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.backbones import Card, family_of
from featherlite.models.weights.assigning import Entry, give, leaves
from featherlite.models.weights.matching import COUNTER, Match, likely
from featherlite.models.weights.stored import Tensors, shown

if TYPE_CHECKING:
    import keras

__all__ = ["assign_torch"]

AXES = {
    ("Conv2D", 4): (2, 3, 1, 0),  # [out, in, h, w] -> [h, w, in, out]
    ("DepthwiseConv2D", 4): (2, 3, 0, 1),  # [channels, 1, h, w] -> [h, w, channels, 1]
    ("Dense", 2): (1, 0),  # [out, in] -> [in, out]
}
PARTS = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""What torch calls a layer's weights, by Keras's names of them."""
INPUTS = ("Normalization", "Rescaling")
"""Layers that map pixels to what the network expects; torch leaves that to the caller, and they are folded away."""

Special = Callable[[str, NDArray[Any], tuple[int, ...]], NDArray[Any] | None]


def assign_torch(model: keras.Model, tensors: Tensors, card: Card, found: Match) -> None:
    """Gives every layer of the model its weights from a file of torch; input layers keep theirs.

    A family may define `torch_weight(layer, value, shape)`, which turns a tensor into a weight of that shape where axes
    alone do not.

    Raises:
        RequestError: as `assign`.
    """
    special: Special | None = getattr(family_of(card), "torch_weight", None)

    def find(layer: keras.Layer) -> Sequence[Entry] | None:
        if type(layer).__name__ in INPUTS:
            return [_kept(weight) for weight in layer.weights]
        named = [(_tensor(layer, weight, found), weight) for weight in layer.weights]
        entries = [_entry(tensors, layer, name, weight, special) for name, weight in named if name in tensors.shapes]
        return entries or None

    def hint(missing: bool) -> str:
        if not missing and "width" in card.options:
            return "Set width to that of the file."
        return f"Is it a file of another backbone? {likely(tensors, card)}"

    _refuse_unused(model, tensors, card, found)
    give(model, find, card, tensors.path.name, hint)


def _refuse_unused(model: keras.Model, tensors: Tensors, card: Card, found: Match) -> None:
    """Refuses a file whose layers have weights that ours lack, such as biases of convolutions.

    Raises:
        RequestError: there is one.
    """
    used = {
        _tensor(layer, weight, found)
        for layer in leaves(model)
        for weight in layer.weights
        if type(layer).__name__ not in INPUTS
    }
    modules = {found.prefix + module for module in found.naming.layers.values()}
    for name in tensors.shapes:
        module, _, part = name.rpartition(".")
        if module in modules and name not in used and part != COUNTER:
            raise RequestError(
                f"weights: {tensors.path.name} does not fit {card.name}: '{shown(name)}' has no place in it.",
                f"Is it a file of another backbone? {likely(tensors, card)}",
            )


def _kept(weight: Any) -> Entry:
    return Entry(str(weight.name), tuple(weight.shape), lambda: np.asarray(weight))


def _tensor(layer: keras.Layer, weight: Any, found: Match) -> str:
    """The name in the file of a layer's weight."""
    plain = re.sub(r"^(layer_normalization)_\d+$", r"\1", layer.name)  # named by Keras, which counts as it builds
    module = found.naming.layers.get(plain, "")
    scales = type(layer).__name__ == "LayerScale"
    return found.tensor(module, "" if scales else PARTS[str(weight.name)])


def _entry(tensors: Tensors, layer: keras.Layer, name: str, weight: Any, special: Special | None) -> Entry:
    """The tensor as a weight of the layer: numbers and shape in Keras's order of axes."""
    wanted, shape = tuple(weight.shape), tensors.shapes[name]
    if special is not None and (special(layer.name, np.zeros(shape, np.float32), wanted)) is not None:
        return Entry(name, wanted, lambda: np.asarray(special(layer.name, tensors.read(name), wanted)))
    order, through = _turned(layer, shape, wanted)
    return Entry(
        name,
        tuple(through[axis] for axis in order),
        lambda: tensors.read(name).reshape(through).transpose(order),
    )


def _turned(
    layer: keras.Layer, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of axes, and the shape to bring the tensor to first: dense layers and 1x1 convolutions are the same."""
    kind = type(layer).__name__
    if len(wanted) == 4 and len(shape) == 2:
        shape = (*shape, 1, 1)
    if len(wanted) == 2 and len(shape) == 4 and shape[2:] == (1, 1):
        shape = shape[:2]
    if len(wanted) == 1 and len(shape) == 3 and shape[1:] == (1, 1):  # torchvision's LayerScale
        shape = shape[:1]
    order = AXES.get((kind, len(shape))) if len(shape) == len(wanted) else None
    return order or tuple(range(len(shape))), shape
