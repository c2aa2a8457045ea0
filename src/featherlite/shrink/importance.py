"""How much each channel matters to the network: by the size of its weights, by its BatchNorm, or by the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.surgery.channels import Channels, Layout
from featherlite.models.surgery.rebuild import Change, edges, rebuild
from featherlite.preprocess import network_input

__all__ = ["Criterion", "by_magnitude", "by_norm", "by_taylor", "scored"]

Criterion = Literal["taylor", "magnitude", "bn_scale"]
Scores = dict[str, NDArray[np.float64]]
BATCH = 16
"""Photos whose gradients are computed together."""


def scored(network: keras.Model, channels: Channels, criterion: Criterion) -> tuple[str, ...]:
    """The groups that may change and about which the criterion has something to say."""
    normed = {name for _, layout in _norms(network, channels) for name in layout.groups}
    free = channels.free().values()
    if criterion == "bn_scale":
        return tuple(group.name for group in free if group.name in normed)
    # What no kernel of its own makes and no other takes in (a photo passed through) has no weights to go by.
    return tuple(group.name for group in free if (group.makers if criterion == "magnitude" else group.users))


def by_magnitude(network: keras.Model, channels: Channels) -> Scores:
    """Per group the length of what makes each channel: float64 [width], summing to 1; all 0 for kernels of zeros.

    A kernel counts with the factor that the BatchNorm behind it puts on each of its channels; several kernels that make
    one channel (of a residual sum) count together.

    Source: H. Li et al., "Pruning Filters for Efficient ConvNets" (arXiv:1608.08710), section 3.1, with L2.
    """
    behind: dict[str, list[Any]] = {}
    for source, target in edges(network):
        behind.setdefault(source.name, []).append(target)
    squares = _zeros(channels, scored(network, channels, "magnitude"))
    for name in squares:
        for maker in channels.groups[name].makers:
            kernel = np.asarray(network.get_layer(maker).get_weights()[0], np.float64)
            factor = _factor(behind[maker][0]) if len(behind[maker]) == 1 else 1.0
            squares[name] += np.square(kernel * factor).reshape(-1, kernel.shape[-1]).sum(axis=0)
    return _shares({name: np.sqrt(square) for name, square in squares.items()})


def by_norm(network: keras.Model, channels: Channels) -> Scores:
    """Per group with BatchNorm the size of its scale on each channel: float64 [width], summing to 1.

    Source: Z. Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (arXiv:1708.06519),
    section 3; the scales of all BatchNorms on one channel count together.
    """
    squares = _zeros(channels, scored(network, channels, "bn_scale"))
    for layer, layout in _norms(network, channels):
        scale = np.asarray(layer.gamma, np.float64)
        for name, part in _parts(channels, layout, np.square(scale)):
            if name in squares:
                squares[name] += part
    return _shares({name: np.sqrt(square) for name, square in squares.items()})


def by_taylor(
    network: keras.Model,
    channels: Channels,
    images: Any,
    labels: NDArray[np.int64],
    advance: Callable[[int], None] | None = None,
) -> Scores:
    """Per group the squared change of the loss, to first order, if a channel were zero: float64 [width], summing to 1.

    `images` are uint8 [n, h, w, 3] with their class numbers. A gate of 1 stands before all that takes the channel in;
    the derivative of a photo's loss by it is the sum of activation times gradient, and its square is averaged over the
    photos. `advance` is told the photos done.

    Source: P. Molchanov et al., "Importance Estimation for Neural Network Pruning" (arXiv:1906.10771), section 3.

    Raises:
        RequestError: there are no photos, or Keras's backend has no gradients here.
    """
    if not len(labels):
        raise RequestError("Without training photos no gradient can be taken.", "Take criterion = magnitude.")
    names = scored(network, channels, "taylor")
    users = {user for name in names for user in channels.groups[name].users}
    size = min(BATCH, len(labels))
    gated = rebuild(network, {user: _gate_before(size) for user in users})
    gates = {user: gated.get_layer(f"{user}_gate") for user in sorted(users)}
    for layer in gated.layers:
        layer.trainable = isinstance(layer, ChannelGate)
    variables = [gate.opening for gate in gates.values()]
    gradients = _gradients_of(gated, variables)
    sums, whole = _zeros(channels, names), len(labels) // size * size
    for start in range(0, whole, size):
        rows = slice(start, start + size)
        found = gradients(network_input(np.ascontiguousarray(images[rows])), labels[rows])
        joint = {name: np.zeros((size, channels.groups[name].width)) for name in names}
        for user, gradient in zip(gates, found, strict=True):
            flat = np.asarray(gradient, np.float64).reshape(size, -1)
            for name, part in _parts(channels, channels.inputs[user], flat):
                if name in joint:
                    joint[name] += part
        for name, part in joint.items():
            sums[name] += np.square(part).sum(axis=0)
        if advance is not None:
            advance(size)
    return _shares(sums)


@keras.saving.register_keras_serializable("featherlite")
class ChannelGate(keras.layers.Layer):  # type: ignore[misc]
    """What comes in times an opening of 1, one for each photo of a batch of `photos` and each channel."""

    def __init__(self, photos: int, **options: Any) -> None:
        super().__init__(**options)
        self.photos = photos

    def build(self, input_shape: Any) -> None:
        """Adds the openings: [photos, 1, ..., channels]."""
        middle = [1] * (len(input_shape) - 2)
        self.opening = self.add_weight(shape=(self.photos, *middle, input_shape[-1]), initializer="ones")

    def call(self, inputs: Any) -> Any:
        """The gated values, of the same shape."""
        return inputs * self.opening

    def compute_output_spec(self, inputs: Any) -> Any:
        """What comes in, of however many photos."""
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)


def _gate_before(photos: int) -> Change:
    def change(layer: Any, inputs: Any) -> Any:
        return layer(ChannelGate(photos, name=f"{layer.name}_gate")(inputs))

    return change


def _gradients_of(model: keras.Model, variables: list[Any]) -> Callable[[Any, Any], list[Any]]:
    """(photos, class numbers) -> the derivatives of the summed cross-entropy by the variables."""
    backend = keras.backend.backend()

    def loss(logits: Any, labels: Any) -> Any:
        picked = ops.take_along_axis(ops.log_softmax(logits, axis=-1), ops.cast(labels, "int32")[:, None], axis=1)
        return -ops.sum(picked)

    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function  # type: ignore[untyped-decorator]
        def taped(photos: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                total = loss(model(photos, training=False), labels)
            return tape.gradient(total, [variable.value for variable in variables])

        return lambda photos, labels: list(taped(tf.constant(photos), tf.constant(labels)))
    if backend == "jax":
        import jax

        place = {id(variable): number for number, variable in enumerate(model.trainable_variables)}
        fixed = [variable.value for variable in model.non_trainable_variables]

        def stateless(trained: Any, photos: Any, labels: Any) -> Any:
            logits, _ = model.stateless_call(trained, fixed, photos, training=False)
            return loss(logits, labels)

        derivative = jax.jit(jax.grad(stateless))

        def computed(photos: Any, labels: Any) -> list[Any]:
            found = derivative([variable.value for variable in model.trainable_variables], photos, labels)
            return [found[place[id(variable)]] for variable in variables]

        return computed
    raise RequestError(
        f"The criterion 'taylor' needs the TensorFlow or JAX backend of Keras, not '{backend}'.",
        "Set KERAS_BACKEND to tensorflow, or take criterion = magnitude.",
    )


def _norms(network: keras.Model, channels: Channels) -> Iterator[tuple[Any, Layout]]:
    """The BatchNorms that scale, with what passes them."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale and layer.name in channels.outputs:
            yield layer, channels.outputs[layer.name]


def _factor(layer: Any) -> Any:
    """What BatchNorm multiplies each channel by; 1 for any other layer."""
    if not isinstance(layer, keras.layers.BatchNormalization):
        return 1.0
    deviation = np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
    return (np.asarray(layer.gamma, np.float64) if layer.scale else 1.0) / deviation


def _parts(
    channels: Channels, layout: Layout, values: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each group's part of values [..., axis] of that layout: [..., width], as often as it lies there."""
    start = 0
    for name in layout.groups * layout.tiles:
        width = channels.groups[name].width
        yield name, values[..., start : start + width]
        start += width


def _zeros(channels: Channels, names: Iterable[str]) -> Scores:
    return {name: np.zeros(channels.groups[name].width) for name in names}


def _shares(scores: Scores) -> Scores:
    return {name: score / (score.sum() or 1.0) for name, score in scores.items()}
