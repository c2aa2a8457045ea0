"""The process in which a network is converted: `python -m featherlite.models.convert_worker`.

Arguments: the network (.keras), where to write the .tflite, and the order (.json): the artefact's `form`, the scales of
its `kernels`, the `ranges` of layers (or null), the file of representative `photos` (.npy, uint8 [n, height, width, 3],
or null), and the file to `tell`: the names of the network's layers, which of the ranges found no place, and which
layers are to blame where it fails. Expects KERAS_BACKEND=tensorflow.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import ExportError
from featherlite.models.prescribed import NO_KERNEL, RESHAPED, SCOPE, layers_of, prescribe
from featherlite.preprocess import network_input
from featherlite.runtime.worker import FAILURE

Photos = NDArray[np.uint8]

KERNELS = ("Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D")
ONE_SCALE_IN_DENSE = True
"""A dense kernel has one scale whatever the others have: TensorFlow Lite Micro took a scale for each output only from
September 2024 on, and what is shipped for boards is older. It refuses such a kernel
(https://github.com/tensorflow/tflite-micro/pull/2602), or takes the first output's scale for all and answers wrongly.
"""


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


def _photos_of_full_range(photos: Photos) -> Iterator[Photos]:
    """Each photo; the first shows black and white in two corners where no photo of the set does.

    The converter takes the input's scale from the extremes it has seen: 0 and 255 give exactly 1/128 and zero
    point 0.
    """
    first = np.array(photos[0])
    if min(int(photo.min()) for photo in photos) > 0 or max(int(photo.max()) for photo in photos) < 255:
        first[0, 0], first[-1, -1] = 0, 255
    yield first
    yield from photos[1:]


def _traced(model: Any) -> Any:
    """The network as a graph of TensorFlow for a batch of one, each layer in a scope of its own."""
    import tensorflow as tf

    scopes = {id(operation): _scope(model, number) for number, operation in enumerate(model.operations)}

    def scoped(operation: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(operation, "_call_has_training_arg", False):
                kwargs.setdefault("training", False)
            with tf.name_scope(scopes[id(operation)]):  # ends in /: the same scope whatever stands around it
                return operation(*args, **kwargs)

        return call

    def network(photo: Any) -> Any:
        return model._run_through_graph(photo, operation_fn=scoped)

    shape = (1, *model.inputs[0].shape[1:])
    call = tf.function(network, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    return call.get_concrete_function()


def _scope(model: Any, number: int) -> str:
    """The scope in which a layer is traced; layers that leave no trace of their own share that of their values' source.

    What reshapes is merged with the operation before it. A BatchNorm vanishes in the convolution before it, and where
    it adds nothing, as before any training, its name does too: so the convolution is traced as if it were the norm.
    """
    operation = model.operations[number]
    if type(operation).__name__ in ("Flatten", "Reshape"):
        return RESHAPED
    behind = [node.operation for node in operation._outbound_nodes if node.operation in model.operations]
    if type(operation).__name__ in KERNELS and len(behind) == 1 and type(behind[0]).__name__ == "BatchNormalization":
        number = model.operations.index(behind[0])
    return SCOPE.format(number)


def _converter(model: Any, form: str, kernels: str, photos: Photos | None) -> Any:
    import tensorflow as tf

    # Without the trackable object the converter freezes the variables itself: three seconds faster than by
    # SavedModel.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([_traced(model)])
    if form == "float32":
        return converter
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = kernels == "tensor"
    converter._experimental_disable_per_channel_quantization_for_dense_layers = ONE_SCALE_IN_DENSE
    if form == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form in ("float16", "int8-weights"):
        return converter
    shape = model.inputs[0].shape[1:]
    if photos is None or photos.shape[1:] != shape:
        given = None if photos is None else list(photos.shape[1:])
        raise ExportError(f"The representative photos are {given}, the network's input is {list(shape)}.")
    converter.representative_dataset = lambda: ([network_input(photo)[None]] for photo in _photos_of_full_range(photos))
    if form == "int16x8":
        sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen]
        return converter
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter


def _prescribed(converter: Any, order: dict[str, Any], layers: Sequence[str]) -> tuple[bytes, tuple[str, ...]]:
    """The int8 artefact whose layers have the ranges that were ordered, and the layers that have no place for one."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    converter._experimental_calibrate_only = True
    calibrated, absent = prescribe(converter.convert(), order["ranges"], layers)
    per_tensor = order["kernels"] == "tensor"
    made = mlir_quantize(
        calibrated,
        per_tensor,
        input_data_type=tf.int8,
        output_data_type=tf.int8,
        disable_per_channel_for_dense_layers=ONE_SCALE_IN_DENSE,
    )
    return bytes(made), absent


def main(network: str, artefact: str, order_file: str) -> None:
    """The .tflite, written to `artefact`."""
    order = json.loads(Path(order_file).read_text("utf-8"))
    photos = np.load(order["photos"], allow_pickle=False, mmap_mode="r") if order["photos"] else None
    model = _load(network)
    layers = [operation.name for operation in model.operations]
    absent: tuple[str, ...] = ()
    try:
        converter = _converter(model, order["form"], order["kernels"], photos)
        if order["ranges"] is None:
            made = converter.convert()
        else:
            made, absent = _prescribed(converter, order, layers)
    except Exception as error:
        _tell(order, blamed=_blamed(model, str(error), layers))
        raise
    _tell(order, layers=layers, absent=absent)
    Path(artefact).write_bytes(made)


def _blamed(model: Any, said: str, layers: Sequence[str]) -> tuple[str, ...]:
    """The layers with an operation that the converter says it has no kernel for; it names the operation alone."""
    kinds = set(re.findall(NO_KERNEL, said))
    if not kinds:
        return ()
    found = [layers_of(one.name, layers) for one in _traced(model).graph.get_operations() if one.type in kinds]
    return tuple(dict.fromkeys(name for names in found for name in names))


def _tell(order: dict[str, Any], **known: Sequence[str]) -> None:
    Path(order["tell"]).write_text(json.dumps({key: list(names) for key, names in known.items()}), "utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"{FAILURE}{error}")
