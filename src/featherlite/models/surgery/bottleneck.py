"""A narrow layer before a dense one, from the truncated singular value decomposition of its kernel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.surgery.dense import has_fixed_columns
from featherlite.models.surgery.rebuild import rebuild

__all__ = ["kept_share", "most_units", "saved_by", "with_bottleneck"]

Floats = NDArray[np.floating[Any]]


def saved_by(dense: keras.layers.Dense, units: int) -> int:
    """Weights that a narrow layer of so many units before `dense` saves; negative where it costs some."""
    inputs, outputs = (int(size) for size in dense.kernel.shape)
    return inputs * outputs - units * (inputs + outputs)


def most_units(dense: keras.layers.Dense) -> int:
    """The most units with which a narrow layer before `dense` saves anything; 0 where none does."""
    inputs, outputs = (int(size) for size in dense.kernel.shape)
    return max(0, -(-inputs * outputs // (inputs + outputs)) - 1)


def kept_share(dense: keras.layers.Dense, units: int) -> float:
    """The share of the kernel's squared size that its best approximation of that rank keeps, 0..1."""
    sizes = np.linalg.svd(np.asarray(dense.kernel, np.float64), compute_uv=False) ** 2
    return float(sizes[:units].sum() / max(sizes.sum(), np.finfo(np.float64).tiny))


def with_bottleneck(network: keras.Model, name: str, units: int) -> tuple[keras.Model, str]:
    """The network with a dense layer of `units` outputs, without bias, before the dense layer `name`; and its name.

    The two kernels' product is the best approximation of that rank of the one that was there. Where the layer compares
    directions (cosine head), the narrow one comes before the features are brought to length one: its columns are
    orthonormal, and the classes' directions are laid into the space that they span.

    Source: C. Eckart and G. Young, "The approximation of one matrix by another of lower rank", Psychometrika 1 (1936);
    for dense layers X. Xue, J. Li and Y. Gong, "Restructuring of Deep Neural Network Acoustic Models with Singular
    Value Decomposition", Interspeech 2013, equation 2.

    Raises:
        RequestError: the layer's input is brought to length one by something else than the cosine head.
    """
    dense = network.get_layer(name)
    kernel, *bias = dense.get_weights()
    left, sizes, right = np.linalg.svd(np.asarray(kernel, np.float64), full_matrices=False)
    left, sizes, right = left[:, :units], sizes[:units], right[:units]
    if units > len(sizes):  # a kernel of lower rank than asked for: nothing else is left to give
        raise RequestError(f"'{name}' has a kernel of {kernel.shape}: it has no {units} directions.")
    fixed = has_fixed_columns(dense)
    if fixed:
        before, wide = _unscaled(network, dense), sizes[:, None] * right
        wide = wide / np.maximum(np.linalg.norm(wide, axis=0), np.finfo(np.float32).tiny)
    else:
        before, wide = dense.input._keras_history.operation.name, np.sqrt(sizes)[:, None] * right
        left = left * np.sqrt(sizes)
    taken = {operation.name for operation in network.operations}
    narrow = next(one for one in _names(name) if one not in taken)

    def insert(layer: Any, inputs: Any) -> Any:
        added = keras.layers.Dense(units, use_bias=False, name=narrow, kernel_initializer="zeros")
        return added(layer(inputs)) if fixed else layer(added(inputs))

    weights = {narrow: [left], name: [wide, *bias]}
    return rebuild(network, {before if fixed else name: insert}, weights=weights), narrow


def _names(name: str) -> Any:
    yield f"{name}_bottleneck"
    number = 2
    while True:
        yield f"{name}_bottleneck{number}"
        number += 1


def _unscaled(network: keras.Model, dense: keras.layers.Dense) -> str:
    """Name of the operation whose output is brought to length one before `dense`: that which both factors come from."""
    operation = dense.input._keras_history.operation
    while isinstance(operation, keras.layers.Rescaling):
        operation = operation.input._keras_history.operation
    if isinstance(operation, keras.layers.Multiply) and len(operation.input) == 2:
        feature, inverse = sorted(operation.input, key=lambda one: -int(one.shape[-1]))
        source, other = feature._keras_history.operation, inverse._keras_history.operation
        while other is not source and not isinstance(other.input, list | tuple):
            if isinstance(other, keras.layers.InputLayer):
                break
            other = other.input._keras_history.operation
        if other is source and not isinstance(source, keras.layers.InputLayer):
            return str(source.name)
    raise RequestError(
        f"'{dense.name}' in '{network.name}' compares directions, but not as the cosine head does.",
        "Build the network with head=cosine.",
    )
