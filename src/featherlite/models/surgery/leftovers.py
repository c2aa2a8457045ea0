"""Layers that change no answer: what only training needed, what does nothing, and linear layers that are one in two."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.models.fusing import activation_name
from featherlite.models.surgery.rebuild import edges, rebuild, skip

__all__ = ["drop", "idle_layers", "merge_linear", "training_layers"]

Floats = NDArray[np.float64]

_TRAINING = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout2D,
)
_OWN: tuple[Any, ...] = (keras.layers.ReLU, keras.layers.Activation)
_INLINE: tuple[Any, ...] = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
"""Layers that are an activation, and those that may end in one."""
_POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_SHAPES = (keras.layers.Reshape, keras.layers.Flatten, keras.layers.Cropping2D, keras.layers.ZeroPadding2D)


def training_layers(network: keras.Model) -> list[str]:
    """Names of the layers that do something in training alone: dropout, noise, random changes of the photo."""
    return [layer.name for layer in network.layers if isinstance(layer, _TRAINING) or _is_random(layer)]


def idle_layers(network: keras.Model) -> list[str]:
    """Names of the layers that return their input as it is: linear activations, ReLU behind ReLU6, paddings of zero."""
    return [layer.name for layer in network.layers if _is_idle(layer)]


def drop(network: keras.Model, names: list[str]) -> keras.Model:
    """The network without these layers: the first input of each stands in its place."""
    return rebuild(network, {name: skip() for name in names})


def merge_linear(network: keras.Model) -> tuple[keras.Model, list[str]]:
    """The network with linear layers in a row made one where that has fewer weights; and the names of those gone.

    The second must be a Dense, or a convolution of 1x1 that skips nothing; the first keeps its name, and its kernel
    becomes the product of both. A narrow layer that saves weights (a bottleneck) therefore stays.
    """
    gone: list[str] = []
    while (pair := _pair(network)) is not None:
        first, second = pair
        kernel, bias = _merged(first, second)
        changes = {first.name: _widened(second), second.name: skip()}
        network = rebuild(network, changes, weights={first.name: [kernel, bias]})
        gone.append(second.name)
    return network, gone


def _is_random(layer: Any) -> bool:
    name, module = type(layer).__name__, type(layer).__module__
    # RandomCrop also cuts where nothing is drawn.
    return "image_preprocessing" in module and name.startswith("Random") and name != "RandomCrop"


def _is_idle(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Identity):
        return True
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear:
        return True
    ceiling = _ceiling(layer, _OWN)
    if ceiling is not None:
        below = _ceiling(layer.input._keras_history.operation, _OWN + _INLINE)
        return below is not None and below <= ceiling
    if isinstance(layer, _POOLS):
        return set(layer.pool_size) == {1} and set(layer.strides) == {1}
    if isinstance(layer, keras.layers.UpSampling2D):
        return set(layer.size) == {1}
    return isinstance(layer, _SHAPES) and layer.input.shape == layer.output.shape


def _ceiling(layer: Any, kinds: tuple[Any, ...]) -> float | None:
    """The largest value that comes out of a layer which passes 0 .. that as it is and cuts the rest; None: another."""
    if not isinstance(layer, kinds):
        return None
    if isinstance(layer, keras.layers.ReLU):
        if layer.negative_slope != 0 or layer.threshold != 0:
            return None
        return math.inf if layer.max_value is None else float(layer.max_value)
    return {keras.activations.relu: math.inf, keras.activations.relu6: 6.0}.get(layer.activation)


def _pair(network: keras.Model) -> tuple[Any, Any] | None:
    """The first two linear layers in a row that are smaller as one."""
    wired = edges(network)
    for first, second in wired:
        alone = sum(source is first for source, _ in wired) == 1
        if alone and _is_product(first, second) and _merged_count(first, second) < _count(first) + _count(second):
            return first, second
    return None


def _is_product(first: Any, second: Any) -> bool:
    dense, convolution = keras.layers.Dense, keras.layers.Conv2D
    if not isinstance(first, dense | convolution) or activation_name(first) != "linear":
        return False
    if isinstance(first, convolution) and (first.data_format != "channels_last" or first.groups != 1):
        return False
    if isinstance(second, dense):
        return True
    plain = isinstance(second, convolution) and {*second.kernel_size, *second.strides} == {1}
    return plain and second.groups == 1 and second.data_format == "channels_last"


def _count(layer: Any) -> int:
    return int(layer.count_params())


def _merged_count(first: Any, second: Any) -> int:
    width = int(second.output.shape[-1])
    return int(np.prod(first.kernel.shape[:-1]) + 1) * width


def _merged(first: Any, second: Any) -> tuple[Floats, Floats]:
    """Kernel and bias of both as one: second(first(x)) = (W1 W2) x + (b1 W2 + b2)."""
    kernel, bias = _weights(first)
    factor, added = _weights(second)
    factor = factor.reshape((bias.size, added.size))
    return np.asarray(kernel @ factor), np.asarray(bias @ factor + added)


def _weights(layer: Any) -> tuple[Floats, Floats]:
    kernel, *bias = [np.asarray(weight, np.float64) for weight in layer.get_weights()]
    return kernel, bias[0] if bias else np.zeros(int(layer.output.shape[-1]))


def _widened(second: Any) -> Any:
    """The change that gives a layer the second one's width and activation."""
    width, activation = second.output.shape[-1], keras.activations.serialize(second.activation)

    def change(layer: Any, inputs: Any) -> Any:
        of_width = {"units" if isinstance(layer, keras.layers.Dense) else "filters": width}
        options = layer.get_config() | of_width | {"use_bias": True, "activation": activation}
        return type(layer).from_config(options)(inputs)

    return change
