"""Weights of a file given to a network: every layer's shapes are compared first, then every number is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.backbones import Card
from featherlite.models.weights.stored import Stored, shown

if TYPE_CHECKING:
    import keras

__all__ = ["Entry", "assign", "give", "leaves"]


@dataclass(frozen=True)
class Entry:
    """One weight of a layer as the file has it: its shape in Keras's order of axes, and a way to read the numbers."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]


Find = Callable[[Any], Sequence[Entry] | None]
"""The file's weights for a layer, in Keras's order; None where it has none of them."""


def assign(model: keras.Model, stored: Stored, card: Card) -> None:
    """Gives every layer of the model its weights from a file of Keras.

    Raises:
        RequestError: a layer is missing or has another shape (the model is left as it was), or a weight is no finite
            number (the model is then partly filled and must not be used).
    """

    def find(layer: keras.Layer) -> Sequence[Entry] | None:
        found = stored.find(layer.name)
        return None if found is None else [_entry(layer.name, dataset) for dataset in found]

    def hint(missing: bool) -> str:
        if missing:
            return f"Is it a file of another backbone? It has: {', '.join(map(shown, list(stored.layers)[:3]))}, ..."
        return "Set width to that of the file." if "width" in card.options else "Is it a file of another backbone?"

    give(model, find, card, stored.path.name, hint)


def _entry(layer: str, dataset: Any) -> Entry:
    return Entry(
        f"{layer}/{str(dataset.name).rpartition('/')[2]}", tuple(dataset.shape), lambda: np.asarray(dataset[()])
    )


def give(model: keras.Model, find: Find, card: Card, file: str, hint: Callable[[bool], str]) -> None:
    """Gives every layer what `find` finds for it; `hint` is told whether layers are missing.

    Raises:
        RequestError: as `assign`.
    """
    import keras

    layers = [layer for layer in leaves(model) if layer.weights]
    found = {layer.name: find(layer) for layer in layers}
    faults = [layer for layer in layers if _shapes_of(found[layer.name]) != [tuple(w.shape) for w in layer.weights]]
    if faults:
        first, missing = faults[0], found[faults[0].name] is None
        told = "no such layer" if missing else _shapes(_shapes_of(found[first.name])) or "none of its weights"
        alike = sum((found[layer.name] is None) == missing for layer in faults)
        count = f" ({alike} layers {'are missing' if missing else 'differ'})" if alike > 1 else ""
        raise RequestError(
            f"weights: {file} does not fit {card.name}{count}: layer '{first.name}' wants "
            f"{_shapes([tuple(weight.shape) for weight in first.weights])}, the file has {told}.",
            hint(missing),
        )
    for layer in layers:
        layer.set_weights([_numbers(entry, layer.name, file) for entry in found[layer.name] or ()])
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def leaves(model: keras.Model) -> Iterator[keras.Layer]:
    """Every layer of the model, those of nested models in their place."""
    import keras

    for layer in model.layers:
        yield from leaves(layer) if isinstance(layer, keras.Model) else (layer,)


def _numbers(entry: Entry, layer: str, file: str) -> NDArray[Any]:
    try:
        values = entry.read()
    except RequestError:
        raise
    except Exception as error:  # whatever a damaged file makes a library raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(
            f"weights: '{entry.name}' in {file} cannot be read ({reason[:120]}).",
            "The file is damaged: fetch it again.",
        ) from None
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise RequestError(
            f"weights: '{entry.name}' in {file}, for layer '{layer}', holds {bad} of {values.size} numbers that are not"
            " finite.",
            "The file is damaged, or its training had diverged: use others.",
        )
    return values


def _shapes_of(entries: Sequence[Entry] | None) -> list[tuple[int, ...]]:
    return [entry.shape for entry in entries or ()]


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "one number" for shape in shapes)
