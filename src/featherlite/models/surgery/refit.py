"""New weights for layers that lost inputs: those with which they answer most like before, solved for, not trained."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.preprocess import network_input

__all__ = ["fitted_places", "outputs_of", "refit", "ridge"]

BATCH = 64
ROWS = 20_000
"""Places of the map that a layer is fitted to, at most; drawn by seed."""
RIDGE = 1e-2
"""Weight of the pull to the weights that are there, in units of the inputs' mean square."""

Floats = NDArray[np.float64]


def refit(former: keras.Model, changed: keras.Model, names: Collection[str], images: Any, seed: int) -> None:
    """Sets the kernels and biases of the layers `names` in `changed` so that these answer as they do in `former`.

    Dense layers and convolutions, one after the other in the graph's order; `images` are uint8 photos [n, h, w, 3] that
    both networks take. Where the map has another size now, each place is fitted to the one it lies in. What a layer
    holds is what it is pulled to where the photos say little.
    """
    for layer in changed.layers:
        if layer.name not in names or not isinstance(layer, keras.layers.Dense | keras.layers.Conv2D):
            continue
        old = former.get_layer(layer.name)
        wanted = _answers(former, old, images)
        inputs = _patches(layer, outputs_of(changed, layer.input, images))
        x, y = fitted_places(inputs, wanted, seed)
        kernel, *bias = layer.get_weights()
        start = kernel.reshape(-1, kernel.shape[-1])
        fitted, offset = ridge(x, y, start, centered=bool(bias))
        layer.set_weights([fitted.reshape(kernel.shape), *([offset] if bias else [])])
        if layer.kernel_constraint is not None:
            layer.kernel.assign(layer.kernel_constraint(layer.kernel))


def ridge(inputs: Any, wanted: Any, start: Any, *, centered: bool) -> tuple[Floats, Floats]:
    """Weights float64 [k, units] and offset [units] with inputs [n, k] @ weights + offset near wanted [n, units].

    Minimizes the mean squared error plus `RIDGE` times the inputs' mean square times the squared distance from `start`,
    [k, units]; without `centered` the offset is zero.
    Source: A. Hoerl and R. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics
    1970, equation 2.1, about `start` instead of zero.
    """
    x, y, w = (np.asarray(value, dtype=np.float64) for value in (inputs, wanted, start))
    x_mean = x.mean(axis=0) if centered else np.zeros(x.shape[1])
    y_mean = y.mean(axis=0) if centered else np.zeros(y.shape[1])
    x, y = x - x_mean, y - y_mean
    products = x.T @ x / len(x)
    pull = RIDGE * max(float(np.trace(products)) / len(products), 1e-12)
    moved = np.linalg.solve(products + pull * np.eye(len(products)), x.T @ (y - x @ w) / len(x))
    return w + moved, y_mean - x_mean @ (w + moved)


def outputs_of(network: keras.Model, tensor: Any, images: Any) -> NDArray[np.float32]:
    """A tensor of the network for all photos: float32 [n, ...]."""
    front = keras.Model(network.inputs[0], tensor)
    batches = []
    for start in range(0, len(images), BATCH):
        batch = network_input(np.ascontiguousarray(images[start : start + BATCH]))
        batches.append(np.asarray(front.predict_on_batch(batch), dtype=np.float32))
    return np.concatenate(batches)


def fitted_places(inputs: Any, wanted: Any, seed: int) -> tuple[Any, Any]:
    """Inputs [places, k] and what is wanted there, [places, units], at no more than `ROWS` places of the inputs' map.

    `inputs` are [n, k] or [n, h, w, k] and `wanted` likewise, with a map of another size perhaps.
    """
    there = inputs.shape[:-1]
    chosen = np.sort(np.random.default_rng(seed).permutation(int(np.prod(there)))[:ROWS])
    spots = np.unravel_index(chosen, there)
    # Looked up place by place: stretched to the inputs' map, what is wanted may not fit into memory.
    old = tuple(spot * old_size // size for spot, size, old_size in zip(spots, there, wanted.shape[:-1], strict=True))
    return inputs[spots], wanted[old]


def _answers(network: keras.Model, layer: Any, images: Any) -> Floats:
    """What a layer of the network answers before its activation."""
    twin = type(layer).from_config(layer.get_config() | {"activation": None, "name": "linear_twin"})
    inputs = outputs_of(network, layer.input, images)
    twin.build(layer.input.shape)
    twin.set_weights(layer.get_weights())
    batches = [np.asarray(twin(inputs[start : start + BATCH])) for start in range(0, len(inputs), BATCH)]
    return np.concatenate(batches).astype(np.float64)


def _patches(layer: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What meets the kernel at each place of the layer's output: float32 [n, h, w, kernel inputs]; dense ones as is."""
    if isinstance(layer, keras.layers.Dense) or layer.kernel_size == (1, 1) == tuple(layer.strides):
        return inputs
    patches = ops.image.extract_patches(
        inputs, layer.kernel_size, strides=layer.strides, dilation_rate=layer.dilation_rate[0], padding=layer.padding
    )
    return np.asarray(patches, dtype=np.float32)
