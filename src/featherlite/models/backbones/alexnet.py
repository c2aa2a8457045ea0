"""AlexNet in its one-column form, the baseline of many a comparison; fc6 and fc7 are convolutions here.

Behind the last pooling stands a map of 6x6 at 224 px, and fc6 sees all of it at once: a convolution of that size, with
a map of 1x1 behind it, so that any head fits. At other sizes:

- Where the map is smaller (63 to 222 px: 1x1 to 5x5), fc6 is as large as the map and has fewer weights. torch stretches
  the map to 6x6 instead (adaptive average pooling); since that is linear, `torch_weight` folds it into the kernel, and
  the answers are torch's.
- Where it is larger (from 255 px on), fc6 slides over it and the head averages the answers, as in OverFeat (Sermanet et
  al. 2013, arXiv:1312.6229). torch shrinks the map to 6x6 instead: its answers differ from ours there.

Both have a dropout of one half before them, as published, beside that of the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.models.backbones.card import Card, Order

__all__ = ["CARDS", "build", "torch_names", "torch_weight"]

CARDS = (
    Card(
        name="AlexNet",
        family="alexnet",
        summary="Five convolutions and two wide dense layers; the baseline that every later network beats.",
        paper="Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014, arXiv:1404.5997;"
        " after Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012",
        constructor="featherlite.models.backbones.alexnet.build",
        input_px=224,
        min_px=63,
        parameters=57_003_840,
        macs=710_092_480,
        torch_source="torchvision's alexnet",
        torch_licence="BSD-3-Clause",
    ),
)

_SIDE = 6
"""Side of the map that the published fc6 sees."""
_TORCH_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
}


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: float32 [n, h, w, 3] -> float32 [n, 1 or more, 1 or more, 4096].

    Source: Krizhevsky 2014 (one column, no response normalization), as torchvision sets it up.
    """
    import keras
    from keras import layers

    inputs = keras.Input(order.shape, name="photo")
    x = layers.ZeroPadding2D(2, name="conv1_pad")(inputs)
    x = _convolution(x, "conv1", 64, 11, stride=4, padding="valid")
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = _convolution(x, "conv2", 192, 5)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _convolution(x, "conv3", 384, 3)
    x = _convolution(x, "conv4", 256, 3)
    x = _convolution(x, "conv5", 256, 3)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = layers.Dropout(0.5, name="drop6")(x)
    x = _convolution(x, "fc6", 4096, (min(_SIDE, x.shape[1]), min(_SIDE, x.shape[2])), padding="valid")
    x = layers.Dropout(0.5, name="drop7")(x)
    return keras.Model(inputs, _convolution(x, "fc7", 4096, 1), name=order.card.name)


def torch_names(_: Card) -> Mapping[str, str]:
    """The module in torchvision's state dict of each layer with weights; there is one layout only."""
    return _TORCH_NAMES


def torch_weight(layer: str, value: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """A dense layer's weight of torch, [out, in], as the kernel of `shape` [h, w, in, out]; None for other layers.

    fc6 reads its 9,216 inputs as 256 channels of 6x6. A smaller kernel takes on torch's adaptive pooling: with P [6, h]
    of means over windows, sum_ij K[i, j] (P x P')[i, j] = sum_ab (P' K P)[a, b] x[a, b].
    """
    if layer not in ("fc6", "fc7") or value.ndim != 2 or len(shape) != 4:
        return None
    side = _SIDE if layer == "fc6" else 1
    if value.shape != (shape[3], shape[2] * side * side):
        return None
    kernel = value.reshape(shape[3], shape[2], side, side)
    rows, columns = _windows(side, shape[0]), _windows(side, shape[1])
    pooled: NDArray[Any] = np.einsum("ocij,ia,jb->abco", kernel, rows, columns, optimize=True)
    return pooled.astype(value.dtype)


def _windows(out: int, size: int) -> NDArray[np.float64]:
    """The means that adaptive average pooling takes from `size` places for `out` of them: float64 [out, size].

    Window k covers floor(k size / out) to ceil((k + 1) size / out), as in torch.
    """
    means = np.zeros((out, size))
    for k in range(out):
        first, end = k * size // out, -(-(k + 1) * size // out)
        means[k, first:end] = 1 / (end - first)
    return means


def _convolution(
    x: Any, name: str, channels: int, kernel: int | tuple[int, int], stride: int = 1, padding: str = "same"
) -> Any:
    """Convolution with bias, and ReLU. Nothing is normalized, so the first weights must keep the signal's size."""
    from keras import layers

    x = layers.Conv2D(channels, kernel, stride, padding=padding, kernel_initializer="he_uniform", name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(x)
