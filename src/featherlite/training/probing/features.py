"""What a network's frozen part says of photos, plain and under drawn augmentation, before its one layer that learns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import storage_guard
from featherlite.errors import RequestError
from featherlite.training.augment.draws import SHAPES, names_of
from featherlite.training.augment.layer import Augment
from featherlite.training.guide import view_draws
from featherlite.training.predict import BATCH, padded_batches

if TYPE_CHECKING:
    from featherlite.step import Context
    from featherlite.training.augment.config import AugmentConfig

__all__ = ["last_layer", "plain_features", "view_features"]


def last_layer(network: keras.Model) -> keras.layers.Dense:
    """The dense layer from whose output the logits come, with the pooled features as its input.

    Raises:
        RequestError: the network does not end in one dense layer on features [n, d] that nothing untrained made.
    """
    head = [layer for layer in network.layers if layer.name.startswith("head_") and layer.weights]
    dense = network.layers[-1]
    one = isinstance(dense, keras.layers.Dense) and dense.output is network.output and len(dense.input.shape) == 2
    learners = [layer.name for layer in head if layer is not dense and "pool" not in layer.name]
    if not one or learners:
        named = ", ".join(f"'{name}'" for name in learners) or f"'{network.layers[-1].name}'"
        raise RequestError(
            f"A probe fits one dense layer on pooled features; this network's head has more that learns: {named}.",
            "Build it with head=plain, or train it (featherlite train).",
        )
    return dense


def plain_features(frozen: keras.Model, images: Any, ctx: Context) -> NDArray[np.float32]:
    """What the frozen network says of photos as they are: float32 [n, d]."""
    found = np.empty((len(images), frozen.output_shape[-1]), np.float32)
    _fill(found, frozen, images, ctx)
    return found


def view_features(
    frozen: keras.Model, images: Any, config: AugmentConfig, views: int, ctx: Context
) -> NDArray[np.float32]:
    """The same for the photos as they are and under `views` draws each: float32 [(1 + views) * n, d], on the disk.

    A file under `ctx.scratch`, mapped: it takes 4 * d bytes a row there, whatever memory there is.

    Raises:
        StorageError: the disk is full.
    """
    count, width = len(images), frozen.output_shape[-1]
    path = Path(ctx.scratch) / "features.npy"
    with storage_guard(ctx.scratch):
        _reserve(path, (1 + views) * count * width * 4)
        found = np.memmap(path, np.float32, "r+", shape=((1 + views) * count, width))
    ctx.progress.start("features", (1 + views) * count)
    _fill(found[:count], frozen, images, ctx)
    if views:
        drawing = _drawing(frozen, config)
        for view in range(views):
            _fill_drawn(found[(1 + view) * count : (2 + view) * count], drawing, images, config, view, ctx)
    ctx.progress.finish()
    return found


def _reserve(path: Path, size: int) -> None:
    """Takes the space at once: a mapping whose disk fills up later would kill the process."""
    with path.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(size, 1))


def _drawing(frozen: keras.Model, config: AugmentConfig) -> keras.Model:
    """The frozen network with the augmentation in front: uint8 photos and their draws -> features."""
    inputs = {"photos": keras.Input(frozen.input_shape[1:], dtype="uint8", name="photos")}
    inputs |= {name: keras.Input(SHAPES[name], name=name) for name in names_of(config)}
    return keras.Model(inputs, frozen(Augment(config, name="augment")(inputs)))


def _fill(found: NDArray[np.float32], frozen: keras.Model, images: Any, ctx: Context) -> None:
    for start, count, photos in padded_batches(images, BATCH):
        found[start : start + count] = np.asarray(frozen.predict_on_batch(photos))[:count]
        ctx.progress.advance(count)


def _fill_drawn(
    found: NDArray[np.float32], drawing: keras.Model, images: Any, config: AugmentConfig, view: int, ctx: Context
) -> None:
    draws = view_draws(config, ctx.seed, view, len(images), *images.shape[1:3])
    for start in range(0, len(images), BATCH):
        rows = np.arange(start, start + BATCH) % len(images)  # filled up: another shape is another trace
        batch = {"photos": np.ascontiguousarray(images[rows])} | {name: one[rows] for name, one in draws.items()}
        count = min(BATCH, len(images) - start)
        found[start : start + count] = np.asarray(drawing.predict_on_batch(batch))[:count]
        ctx.progress.advance(count)
