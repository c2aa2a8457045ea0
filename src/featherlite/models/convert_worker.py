"""The process in which a network is converted: `python -m featherlite.models.convert_worker`.

Arguments: the network (.keras), where to write the .tflite, its type, and for int8 the representative photos
(.npy, uint8 [n, height, width, 3]). Expects KERAS_BACKEND=tensorflow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError
from featherlite.preprocess import network_input
from featherlite.runtime.worker import FAILURE


def _load(path: str) -> Any:
    """The network, computing in float32 whatever precision it was trained in."""
    import keras

    model = keras.models.load_model(path, compile=False, safe_mode=True)
    for layer in model._flatten_layers(include_self=False):
        layer.dtype_policy = "float32"
    shapes = [tuple(one.shape) for one in (*model.inputs, *model.outputs)]
    if len(model.inputs) != 1 or len(model.outputs) != 1 or [len(shape) for shape in shapes] != [4, 2]:
        raise ExportError(
            f"A classifier maps one [n, height, width, 3] to one [n, classes]; this network has {shapes}."
        )
    if None in shapes[0][1:] or shapes[0][3] != 3:
        raise ExportError(f"The input size has to be fixed and RGB; this network's is {list(shapes[0][1:])}.")
    return model


def _photos_of_full_range(photos: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Each photo; the first shows black and white in two corners where no photo of the set does.

    The converter takes the input's scale from the extremes it has seen: 0 and 255 give exactly 1/128 and zero
    point 0.
    """
    first = np.array(photos[0])
    if min(int(photo.min()) for photo in photos) > 0 or max(int(photo.max()) for photo in photos) < 255:
        first[0, 0], first[-1, -1] = 0, 255
    yield first
    yield from photos[1:]


def _converter(model: Any, dtype: str, photos: NDArray[np.uint8] | None) -> Any:
    import tensorflow as tf

    shape = (1, *model.inputs[0].shape[1:])
    call = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    # Without the trackable object the converter freezes the variables itself: three seconds faster than by
    # SavedModel.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
    if dtype == "float32":
        return converter
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if dtype == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return converter
    if photos is None or photos.shape[1:] != shape[1:]:
        given = None if photos is None else list(photos.shape[1:])
        raise ExportError(f"The representative photos are {given}, the network's input is {list(shape[1:])}.")
    converter.representative_dataset = lambda: ([network_input(photo)[None]] for photo in _photos_of_full_range(photos))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter


def main(network: str, artefact: str, dtype: str, representative: str = "") -> None:
    """The .tflite, written to `artefact`."""
    photos = np.load(representative, allow_pickle=False, mmap_mode="r") if representative else None
    Path(artefact).write_bytes(_converter(_load(network), dtype, photos).convert())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"{FAILURE}{error}")
