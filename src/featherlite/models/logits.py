"""A Keras network's answers in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError
from featherlite.preprocess import network_input

__all__ = ["network_logits"]

BATCH = 64


def network_logits(model: Any, images: Any, advance: Callable[[int], None] | None = None) -> NDArray[np.float32]:
    """The logits of all photos: float32 [n, classes].

    `images` is uint8 [n, height, width, 3], an array or anything that slices like one (memory-mapped shards); only one
    batch of it is in memory at a time. `advance` is told the number of photos done after each batch.

    Raises:
        ExportError: the network's output is not [n, classes].
    """
    shape = tuple(model.output_shape)
    if len(shape) != 2 or shape[1] is None:
        raise ExportError(f"A classifier's output is [photos, classes]; this network's is {list(shape)}.")
    answers = np.empty((len(images), shape[1]), dtype=np.float32)
    for start in range(0, len(images), BATCH):
        batch = np.asarray(images[start : start + BATCH])
        count = len(batch)
        if start and count < BATCH:
            # A last batch of the others' shape: another one would be compiled anew.
            batch = np.concatenate([batch, np.zeros((BATCH - count, *batch.shape[1:]), np.uint8)])
        answers[start : start + count] = np.asarray(model.predict_on_batch(network_input(batch)))[:count]
        if advance is not None:
            advance(count)
    return answers
