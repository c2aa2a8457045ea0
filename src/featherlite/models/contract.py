"""Brings a network to featherlite's contract: input (pixel - 128) / 128, stock layers, no preprocessing inside.

Published weights expect other inputs. The difference is affine, so it is folded into the first convolution: exact
wherever the kernel sees pixels alone; where it reaches over a zero-padded edge the padding means another gray than it
did (mid-gray instead of the data set's mean), in the outermost rows and columns only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError
from featherlite.models.backbones.card import MOMENTUM, Convention
from featherlite.models.fusing import is_same_padding
from featherlite.models.surgery.rebuild import edges

__all__ = ["Affine", "affine_of", "built_in_affine", "cut", "cut_points", "to_contract"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """An input map: value = matrix @ pixel + offset; float64 [3, 3] and [3], pixels RGB in 0..255."""

    matrix: Floats
    offset: Floats

    def of_contract(self) -> Affine:
        """The same map of our network input x instead of the pixel, with pixel = 128 x + 128."""
        return Affine(self.matrix * 128.0, self.offset + self.matrix.sum(axis=1) * 128.0)


def affine_of(convention: Convention) -> Affine:
    """The input map that a card states."""
    rows = np.eye(3)[::-1] if convention.order == "BGR" else np.eye(3)
    return Affine(rows * np.asarray(convention.scale)[:, None], np.asarray(convention.offset, dtype=np.float64))


def built_in_affine(model: keras.Model) -> Affine:
    """The input map that a network carries as its own first layers, read off by feeding them constant pixels.

    Raises:
        RequestError: those layers are not an affine map of the pixel.
    """
    front = keras.Model(model.inputs[0], _input_layers(model)[-1].output)

    def value(pixel: Floats) -> Floats:
        photo = np.broadcast_to(pixel.astype(np.float32), (1, *model.input_shape[1:]))
        values: Floats = np.asarray(front.predict_on_batch(photo), dtype=np.float64)
        return np.asarray(values[0, 0, 0])

    offset = value(np.zeros(3))
    matrix = np.stack([(value(255.0 * unit) - offset) / 255.0 for unit in np.eye(3)], axis=1)
    probe = np.array([17.0, 230.0, 96.0])
    if not np.allclose(matrix @ probe + offset, value(probe), rtol=1e-3, atol=1e-4):
        raise RequestError(f"The input layers of '{model.name}' are not affine: they cannot be folded away.")
    return Affine(matrix, offset)


def to_contract(model: keras.Model, affine: Affine | None, name: str) -> keras.Model:
    """The same network on our input x = (pixel - 128) / 128, float32 [n, h, w, 3], -1..1; `model` is left as it is.

    `affine` maps pixels to what the first convolution expects; None where the weights are random and nothing needs
    folding. Input layers go, LayerScale is folded into the layer before it, grouped convolutions of one channel a group
    become depthwise, explicit padding joins its convolution where 'same' means the same, and BatchNormalization gets
    `MOMENTUM`.
    """
    plan = _Plan(model)
    photo = keras.Input(model.input_shape[1:], name="photo")
    network = keras.models.clone_model(model, input_tensors=photo, clone_function=plan.clone, call_function=plan.call)
    plan.copy_weights()
    if affine is not None:
        _fold(network, affine.of_contract())
    return keras.Model(network.inputs[0], network.outputs[0], name=name)


class _Plan:
    """One rewriting of a graph: which layers are dropped, which are replaced, and where each weight goes."""

    def __init__(self, model: keras.Model) -> None:
        self.dropped = {layer.name for layer in _input_layers(model)}
        self.joined: set[str] = set()
        self.copies: list[tuple[keras.Layer, keras.Layer]] = []
        self.scales: list[tuple[keras.Layer, keras.Layer]] = []
        self.counts: dict[str, int] = {}
        pairs = edges(model)
        for layer in model.layers:
            if type(layer).__name__ == "LayerScale":
                self.dropped.add(layer.name)
                self.scales.append((layer, layer.input._keras_history.operation))
            if isinstance(layer, keras.layers.ZeroPadding2D):
                behind = [target for source, target in pairs if source is layer]
                if len(behind) == 1 and is_same_padding(layer, behind[0]):
                    self.dropped.add(layer.name)
                    self.joined.add(behind[0].name)

    def clone(self, layer: keras.Layer) -> keras.Layer:
        """A fresh layer of the same kind, or the kind it is replaced with."""
        if isinstance(layer, keras.Sequential) or layer.name in self.dropped:
            return layer
        config = layer.get_config()
        config["name"] = self._stable_name(layer)
        kind = type(layer)
        if layer.name in self.joined:
            config["padding"] = "same"
        if isinstance(layer, keras.layers.BatchNormalization):
            config["momentum"] = MOMENTUM
        if type(layer) is keras.layers.Conv2D and layer.groups == layer.filters > 1:
            kind = keras.layers.DepthwiseConv2D
            config = {key: config[key] for key in _SHARED_WITH_DEPTHWISE} | {"depth_multiplier": 1}
        if not isinstance(layer, keras.Layer) and len(keras.tree.flatten(layer.input)) == 2:
            # A shortcut written as x + y: as a layer it has a name to be cut or pruned by.
            return keras.layers.Add(name=config["name"]) if kind.__name__ == "Add" else kind.from_config(config)
        fresh = kind.from_config(config)
        if isinstance(layer, keras.Layer):  # the rest are bare operations, such as the + of a hard sigmoid
            self.copies.append((layer, fresh))
        return fresh

    def call(self, layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        """What stands where `layer` stood."""
        if layer.name in self.dropped:
            return args[0]
        if isinstance(layer, keras.Sequential):
            tensor = args[0]
            for inner in layer.layers:
                tensor = self.clone(inner)(tensor)
            return tensor
        if isinstance(layer, keras.layers.Add) and len(args) == 2:
            return layer(list(args))
        return layer(*args, **kwargs)

    def copy_weights(self) -> None:
        """Carries every weight over, with LayerScale multiplied into the layer before it."""
        gains = {id(before): np.asarray(scale.get_weights()[0]) for scale, before in self.scales}
        for old, new in self.copies:
            weights = old.get_weights()
            if id(old) in gains:  # kernel [in, out] or bias [out]: the gain runs along the last axis of both
                weights = [weight * gains[id(old)] for weight in weights]
            if type(new) is not type(old):
                weights[0] = np.transpose(weights[0], (0, 1, 3, 2))
            new.set_weights(weights)

    def _stable_name(self, layer: keras.Layer) -> str:
        """The layer's own name; an automatic one is counted anew, whatever was built before."""
        stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__).lower()
        if not re.fullmatch(rf"{stem}(_\d+)?", layer.name):
            return str(layer.name)
        self.counts[stem] = self.counts.get(stem, 0) + 1
        return f"{stem}_{self.counts[stem]}"


_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU)
_SHARED_WITH_DEPTHWISE = (
    "name",
    "trainable",
    "dtype",
    "kernel_size",
    "strides",
    "padding",
    "data_format",
    "dilation_rate",
    "activation",
    "use_bias",
)


def cut_points(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers after which a network may be cut, from input to output.

    Those are the ends of blocks: activations, sums, joined branches and linear bottlenecks on which alone everything
    behind them hangs, so that a cut tears no shortcut.
    """
    order = {id(operation): index for index, operation in enumerate(model.operations)}
    pairs = [(order[id(source)], order[id(target)]) for source, target in edges(model)]
    names = []
    for layer in model.layers:
        at = order[id(layer)]
        alone = all(source == at for source, target in pairs if source <= at < target)
        behind = [model.operations[target] for source, target in pairs if source == at]
        if alone and _ends_block(layer, behind):
            names.append(str(layer.name))
    return tuple(names)


def cut(model: keras.Model, after: str) -> keras.Model:
    """The network up to and with the layer named `after`.

    Raises:
        RequestError: it may not be cut there; the message lists where it may.
    """
    allowed = cut_points(model)
    if after not in allowed:
        raise RequestError(
            f"'{model.name}' cannot be cut after '{after}'.", f"It can be cut after: {', '.join(allowed)}."
        )
    return keras.Model(model.inputs[0], model.get_layer(after).output, name=model.name)


def _ends_block(layer: keras.Layer, behind: list[Any]) -> bool:
    if isinstance(layer, keras.layers.BatchNormalization):
        return not any(isinstance(target, _ACTIVATIONS) for target in behind)
    return isinstance(layer, (*_ACTIVATIONS, keras.layers.Add, keras.layers.Concatenate)) and not any(
        isinstance(target, _ACTIVATIONS) for target in behind
    )


def _first_convolution(model: keras.Model) -> keras.layers.Conv2D:
    """The first convolution, also where it is the first layer of a nested Sequential."""
    for layer in model.layers:
        inner = layer.layers[0] if isinstance(layer, keras.Sequential) else layer
        if isinstance(inner, keras.layers.Conv2D):
            return inner
    raise RequestError(f"'{model.name}' has no convolution.")


def _input_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers between the input and the first convolution that map pixels to values."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    return [layer for layer in model.layers if isinstance(layer, kinds)]


def _fold(network: keras.Model, affine: Affine) -> None:
    """Folds an affine map of the input into the first convolution and its bias, or the BatchNorm behind it.

    With z = A x + b and a kernel W[i, j, k, o], sum W z = sum (W A) x + sum W b: the last sum is one number for each
    output channel wherever no padding is seen.
    """
    stem = _first_convolution(network)
    kernel, *bias = [np.asarray(weight, dtype=np.float64) for weight in stem.get_weights()]
    folded = np.einsum("ijko,kc->ijco", kernel, affine.matrix)
    constant = np.einsum("ijko,k->o", kernel, affine.offset)
    if bias:
        stem.set_weights([folded, bias[0] + constant])
        return
    stem.set_weights([folded])
    behind = [target for source, target in edges(network) if source is stem]
    if len(behind) != 1 or not isinstance(behind[0], keras.layers.BatchNormalization):
        raise RequestError(f"'{network.name}': no bias and no BatchNormalization to fold the input into.")
    mean = behind[0].moving_mean
    mean.assign(np.asarray(mean) - constant)
