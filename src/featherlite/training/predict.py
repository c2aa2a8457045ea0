"""Photos as network input, batch by batch at one static shape, and what answers are worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.preprocess import network_input

__all__ = ["BATCH", "padded_batches", "score"]

BATCH = 64


def padded_batches(images: Any, batch: int) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Start, count and network input float32 [batch, h, w, 3]; the last one is padded, so that shapes stay static."""
    for start in range(0, len(images), batch):
        photos = network_input(np.ascontiguousarray(images[start : start + batch]))
        count = len(photos)
        if count < batch:
            photos = np.concatenate([photos, np.zeros((batch - count, *photos.shape[1:]), np.float32)])
        yield start, count, photos


def score(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Top-1 in [0, 1] and mean cross-entropy in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return float((logits.argmax(axis=1) == labels).mean()), float(losses.mean())
