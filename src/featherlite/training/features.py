"""The head on its own: what the frozen backbone says of each photo is computed once, and the head trained on that."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.named import HEAD
from featherlite.training.predict import BATCH, padded_batches

__all__ = ["HEAD", "SplitNetwork", "split_network"]


class SplitNetwork:
    """A copy of a network cut where its head begins: `backbone` makes the features, `head` answers from them."""

    def __init__(self, network: keras.Model, copy: keras.Model, cut: Any) -> None:
        self.network = network
        self.backbone = keras.Model(copy.input, cut)
        self.head = keras.Model(cut, copy.output)
        self.load()

    def load(self) -> None:
        """Takes over the network's weights."""
        for layer in (*self.backbone.layers, *self.head.layers):
            if layer.weights:
                layer.set_weights(self.network.get_layer(layer.name).get_weights())

    def store(self) -> None:
        """Gives the head's weights back to the network."""
        for layer in self.head.layers:
            if layer.weights:
                self.network.get_layer(layer.name).set_weights(layer.get_weights())

    def features(self, images: Any) -> NDArray[np.float32]:
        """The backbone's answer to every photo: float32 [n, ...]."""
        answers = np.empty((len(images), *self.backbone.output_shape[1:]), dtype=np.float32)
        for start, count, photos in padded_batches(images, BATCH):
            answers[start : start + count] = np.asarray(self.backbone.predict_on_batch(photos))[:count]
        return answers

    def feature_bytes(self, count: int) -> int:
        """What the features of `count` photos take in memory."""
        return 4 * count * int(math.prod(self.backbone.output_shape[1:]))


def split_network(network: keras.Model) -> SplitNetwork | None:
    """The network cut before the first head layer that learns or draws; None where no single cut separates the two."""
    copy = keras.models.clone_model(network)
    head = [layer for layer in copy.layers if layer.name.startswith(HEAD)]
    cuts = [_tensor(layer, "input") for layer in head[:1]]
    for layer in head:
        if layer.variables:
            break
        cuts.append(_tensor(layer, "output"))  # pooling neither learns nor draws: cut behind it
    for cut in reversed(cuts):
        if cut is not None and _separates(copy, cut):
            return SplitNetwork(network, copy, cut)
    return None


def _tensor(layer: keras.layers.Layer, side: str) -> Any:
    tensor = getattr(layer, side)
    return None if isinstance(tensor, (list, tuple, dict)) else tensor


def _separates(copy: keras.Model, cut: Any) -> bool:
    try:
        behind = keras.models.clone_model(copy)  # a probe of its own: building on a tensor leaves traces in its layers
        tensor = next(
            getattr(behind.get_layer(layer.name), side)
            for layer in copy.layers
            for side in ("output", "input")
            if _tensor(layer, side) is cut
        )
        head = keras.Model(tensor, behind.output)
    except (ValueError, StopIteration):
        return False
    learners = {layer.name for layer in head.layers if layer.weights}
    return learners == {layer.name for layer in copy.layers if layer.weights and layer.name.startswith(HEAD)}
