"""Photos made smaller in the graph, and a network on inputs of another size than it was built for."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.errors import RequestError

__all__ = ["AtSize", "Shrink", "check_sizes", "resampling", "shrinking", "size_at"]


def size_at(shape: tuple[int, int], px: int | None) -> tuple[int, int]:
    """Height and width whose longer side is `px`, in the shape's proportion; the shape itself where it is None."""
    longer = max(shape)
    if px is None or px == longer:
        return shape
    return max(1, round(shape[0] * px / longer)), max(1, round(shape[1] * px / longer))


def resampling(source: int, target: int) -> NDArray[np.float32]:
    """The matrix float32 [target, source] that resizes a line of pixels: rows sum to 1.

    A triangle about each new pixel's center, as wide as the pixel where it is the larger one: antialiased, and what
    Pillow's BILINEAR does.
    """
    scale = source / target
    distance = np.abs(np.arange(source)[None] + 0.5 - (np.arange(target)[:, None] + 0.5) * scale)
    weights: NDArray[np.float64] = np.clip(1 - distance / max(1.0, scale), 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


class Shrink(keras.layers.Layer):  # type: ignore[misc]
    """Photos [n, h, w, 3] of any dtype resized to height x width: float32, in the range that they had."""

    def __init__(self, height: int, width: int, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        self.height, self.width = height, width

    def call(self, photos: Any) -> Any:
        """Two products with a matrix: unlike TensorFlow's own resizing they run on every device and under XLA."""
        rows = ops.convert_to_tensor(resampling(photos.shape[1], self.height))
        columns = ops.convert_to_tensor(resampling(photos.shape[2], self.width))
        return ops.einsum("qw,npwc->npqc", columns, ops.einsum("ph,nhwc->npwc", rows, ops.cast(photos, "float32")))

    def compute_output_spec(self, photos: Any) -> Any:
        """The new size."""
        return keras.KerasTensor((photos.shape[0], self.height, self.width, photos.shape[3]), dtype="float32")


def shrinking(network: keras.Model, px: int | None) -> Shrink | None:
    """The layer that makes inputs of the network's size as small as `px` says; None where they are to stay."""
    shape = tuple(network.input_shape[1:3])
    size = size_at(shape, px)
    return None if size == shape else Shrink(*size, name="shrink")


class AtSize(keras.layers.Layer):  # type: ignore[misc]
    """A network on photos of any size that its layers can take; the weights are its own."""

    def __init__(self, network: keras.Model, **options: Any) -> None:
        super().__init__(dtype="float32", **options)
        self.network = network

    def call(self, photos: Any, training: bool | None = None) -> Any:
        """The network's answer: its layers are called one by one, past its check of the input's shape."""
        return self.network.call(photos, training=training)


def check_sizes(network: keras.Model, sizes: tuple[int, ...]) -> None:
    """Nothing, where the network can be trained at these sizes, of which the last must be its own.

    Raises:
        RequestError: it cannot.
    """
    shape = tuple(network.input_shape[1:3])
    if sizes and sizes[-1] != max(shape):
        raise RequestError(
            f"progressive ends at {sizes[-1]} px, the network takes {max(shape)}.", f"Let it end at {max(shape)}."
        )
    for px in sizes[:-1]:
        try:
            answer = AtSize(network)(keras.Input((*size_at(shape, px), 3)))
        except (ValueError, TypeError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise RequestError(
                f"'{network.name}' cannot take photos of {px} px: {reason[:200]}",
                "Take larger sizes, or leave progressive out: a layer of it is bound to the size it was built for.",
            ) from None
        if answer.shape != network.output.shape:
            raise RequestError(
                f"'{network.name}' answers {answer.shape} at {px} px, and {network.output.shape} at its own size.",
                "Leave progressive out.",
            )
