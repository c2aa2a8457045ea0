"""What goes into a fit: checked before it begins, and identified so that a stored state finds its own fit again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from featherlite.data.splits import no_training_photos
from featherlite.errors import DataError, RequestError
from featherlite.training.config import FitConfig
from featherlite.training.guide import Guide, check_guide

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.step import Context

__all__ = ["check_config", "check_photos", "fingerprint"]

FIRST = 16
"""Photos of each set whose pixels tell it from the same photos prepared in another way."""


def check_photos(network: keras.Model, train: PhotoSet, val: PhotoSet | None, *, unlabelled: bool = False) -> None:
    """Nothing, where the photos can train and judge this network; `unlabelled` allows -1 as a label in training.

    Raises:
        DataError: no training photo, or photos that do not match the network's input or classes.
    """
    if len(train.labels) == 0:
        raise no_training_photos("to train on")
    shape, outputs = tuple(network.input_shape[1:]), network.output_shape[-1]
    for photos in (train, val):
        if photos is None:
            continue
        if tuple(photos.images.shape[1:]) != shape:
            raise DataError(f"The photos are {tuple(photos.images.shape[1:])}, the network takes {shape}.")
        if len(photos.classes) != outputs:
            raise DataError(f"The photos have {len(photos.classes)} classes, the network answers {outputs}.")
        lowest = -1 if unlabelled and photos is train else 0
        if photos.labels.min() < lowest or photos.labels.max() >= outputs:
            raise DataError(f"A label number of the {photos.split} split lies outside {lowest}..{outputs - 1}.")


def check_config(network: keras.Model, val: PhotoSet | None, config: FitConfig, guide: Guide | None) -> None:
    """Nothing, where the network, the photos and the guide allow what the config asks for.

    Raises:
        RequestError: a plateau with no validation photos, sizes that the network cannot take, or what no guide can do.
    """
    if config.schedule == "plateau" and val is None:
        raise RequestError(
            "The schedule 'plateau' goes by the validation loss, and there are no validation photos.",
            "Split with a share for val, or take another schedule.",
        )
    if config.progressive:
        from featherlite.training.resize import check_sizes

        check_sizes(network, config.progressive)
    if guide is not None:
        check_guide(config)


def fingerprint(
    network: keras.Model, train: PhotoSet, val: PhotoSet | None, config: FitConfig, ctx: Context, identity: str = ""
) -> str:
    """Hash of what a fit's result depends on: a stored state of anything else is not gone on with."""
    digest = hashlib.sha256(f"{config.model_dump_json()} {ctx.seed} {ctx.epoch_shift} {identity}".encode())
    layers = [(type(layer).__name__, layer.name) for layer in network.layers]
    digest.update(repr((network.input_shape, layers)).encode())
    for photos in (train, val):
        if photos is not None:
            digest.update("\0".join((*photos.paths, *photos.classes)).encode() + photos.labels.tobytes())
            digest.update(np.ascontiguousarray(photos.images[:FIRST]).tobytes())  # preprocessing makes them others
    for weight in network.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
