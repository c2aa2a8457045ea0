"""Where a network looks in a photo: its own spatial attention, or else the places that speak for a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, ExportError, RequestError, did_you_mean
from featherlite.preprocess import network_input, softmax

__all__ = ["METHODS", "Attention", "AttentionViewer", "Method", "attention_map"]

Method = Literal["attention", "activation", "gradient"]

METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "attention": "spatial attention: what the network multiplies each place with",
        "activation": "class activation: what each place adds to the class, exactly",
        "gradient": "Grad-CAM: places that speak for the class, by its gradient",
    }
)
"""What a map is, by method."""

BATCH = 16
"""Photos in memory at once, with their feature maps and gradients."""


@dataclass(frozen=True)
class Attention:
    """Where a network looked in one photo.

    `places` is float32 [h, w] of 0..1, as large as the network's feature map. Of spatial attention it holds the weights
    themselves; of the other methods what speaks for `label`, relative to the strongest place (all 0 where none does).
    `label` and its `probability` are what the network says of the photo, unless another label was asked about.
    """

    places: NDArray[np.float32]
    method: Method
    label: str
    probability: float


def attention_map(bundle: Bundle, photo: bytes | Path | Image.Image | NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where the bundle's network looks in a photo: float32 [h, w], 0..1, as large as its feature map.

    The weights of its spatial attention where it has one, else the class activation of what it takes the photo for. A
    photo that is an array is uint8 [height, width, 3] of the network's size. For many photos: `AttentionViewer`.

    Raises:
        BundleError, RequestError, DataError: as `AttentionViewer` and the bundle's preprocessing.
    """
    pixels = photo if isinstance(photo, np.ndarray) else bundle.preprocess(photo)
    return AttentionViewer(bundle).look(pixels[None])[0].places


class AttentionViewer:
    """A network ready to show where it looks.

    `method` is 'auto' (spatial attention where there is one, unless a label is asked about), 'attention' or
    'activation'. Class activation is exact where nothing but an average and one dense layer stands behind the feature
    map, and follows the gradient elsewhere.

    Source: B. Zhou et al., "Learning Deep Features for Discriminative Localization" (arXiv:1512.04150), equation 2;
    R. R. Selvaraju et al., "Grad-CAM" (arXiv:1610.02391), equations 1 and 2, which for those networks is the same map.

    Raises:
        BundleError: the bundle has no network, or one that does not fit its labels.
        RequestError: an unknown method or label, a network without what the method needs, or one without feature map.
        MissingExtraError: Keras is not installed.
    """

    def __init__(self, bundle: Bundle, method: str = "auto", label: str | None = None) -> None:
        from featherlite.models.network import load_network

        self.labels = tuple(one.name for one in bundle.labels)
        self._asked = _number(self.labels, label)
        network = load_network(bundle)
        if network.output_shape != (None, len(self.labels)):
            raise BundleError(f"The network has {network.output_shape[-1]} outputs and {len(self.labels)} labels.")
        self.size: tuple[int, int] = network.input_shape[1:3]
        wanted = _method(method, label, network)
        cut = _attention(network) if wanted == "attention" else _feature_map(network)
        self._kernel = None if wanted == "attention" else _linear_kernel(network, cut)
        self.method: Method = (
            "attention" if wanted == "attention" else "activation" if self._kernel is not None else "gradient"
        )
        self._front, self._head = _split(network, cut, self.method)

    def look(self, photos: NDArray[np.uint8]) -> list[Attention]:
        """One map a photo; photos are uint8 [n, height, width, 3] of the network's size.

        Raises:
            RequestError: they are of another type or size.
        """
        if photos.dtype != np.uint8 or photos.ndim != 4 or photos.shape[1:] != (*self.size, 3):
            raise RequestError(
                f"The network takes uint8 photos of {(*self.size, 3)}, not {photos.dtype} of {photos.shape[1:]}.",
                "Prepare them with the preprocessing of the same bundle.",
            )
        return [one for start in range(0, len(photos), BATCH) for one in self._batch(photos[start : start + BATCH])]

    def _batch(self, photos: NDArray[np.uint8]) -> list[Attention]:
        maps, logits = (np.asarray(one, np.float32) for one in self._front.predict_on_batch(network_input(photos)))
        if not np.isfinite(logits).all():
            raise ExportError("The network's answers are not numbers.", "Train it again with a lower rate.")
        chosen = logits.argmax(axis=1) if self._asked is None else np.full(len(photos), self._asked)
        places = self._places(maps, chosen)
        rows = zip(places, chosen, softmax(logits), strict=True)
        return [Attention(one, self.method, self.labels[k], float(shares[k])) for one, k, shares in rows]

    def _places(self, maps: NDArray[np.float32], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """The maps to show, float32 [n, h, w], of feature maps or attention maps [n, h, w, channels]."""
        if self.method == "attention":
            return maps[..., 0]
        if self._kernel is not None:
            weights = self._kernel.T[chosen]
        else:
            weights = _gradients(self._head, maps, chosen).mean(axis=(1, 2))
        spoken = np.maximum(np.einsum("nhwc,nc->nhw", maps, weights), 0)
        largest = spoken.max(axis=(1, 2), keepdims=True)
        return np.asarray(np.divide(spoken, largest, out=np.zeros_like(spoken), where=largest > 0), np.float32)


def _number(labels: tuple[str, ...], label: str | None) -> int | None:
    if label is None:
        return None
    if label not in labels:
        raise RequestError(f"The bundle has no label '{label}'.", did_you_mean(label, labels))
    return labels.index(label)


def _method(method: str, label: str | None, network: Any) -> Literal["attention", "activation"]:
    if method not in ("auto", "attention", "activation"):
        raise RequestError(f"There is no method '{method}'.", did_you_mean(method, ("auto", "attention", "activation")))
    if method == "attention" and _attention(network) is None:
        raise RequestError(
            "This network has no spatial attention.",
            "Set method to 'activation', or build one with attention = 'spatial'.",
        )
    if method == "attention" and label is not None:
        raise RequestError(
            f"Spatial attention is the same for every label, so there is none for '{label}'.",
            "Set method to 'activation'.",
        )
    if method == "auto":
        return "attention" if label is None and _attention(network) is not None else "activation"
    return "attention" if method == "attention" else "activation"


def _attention(network: Any) -> Any:
    """The output of the layer that makes the attention map, None where there is none."""
    from featherlite.models.attention import ATTENTION_MAP

    found = [layer.output for layer in network.layers if layer.name == ATTENTION_MAP]
    return found[0] if found and tuple(found[0].shape)[3:] == (1,) else None


def _feature_map(network: Any) -> Any:
    """The last tensor [n, h, w, channels] with places to tell apart, through which everything behind it goes.

    Raises:
        RequestError: the network has none.
    """
    import keras

    for layer in reversed(network.layers):
        tensor = layer.output
        shape: tuple[Any, ...] = tuple(getattr(tensor, "shape", ()))
        inner = layer.name.startswith("head_") and layer.name != "head_attention"
        if inner or isinstance(layer, keras.layers.InputLayer) or len(shape) != 4 or shape[1] * shape[2] < 2:
            continue
        if _is_passed_by_all(network, tensor):
            return tensor
    raise RequestError(
        "The network has no feature map of more than one place.", "Take a larger input, so that its last map has some."
    )


def _is_passed_by_all(network: Any, tensor: Any) -> bool:
    """Whether the logits can be computed from this tensor alone."""
    pending, seen = [network.outputs[0]], set()
    while pending:
        one = pending.pop()
        if one is tensor or id(one) in seen:
            continue
        seen.add(id(one))
        if one is network.inputs[0]:
            return False
        pending += _sources(one)
    return True


def _sources(tensor: Any) -> list[Any]:
    """The tensors that the operation behind a tensor takes."""
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _linear_kernel(network: Any, cut: Any) -> NDArray[np.float32] | None:
    """The kernel [channels, classes] where the logits are it times the mean of the feature map, plus a bias."""
    from keras import layers

    kernel = None
    pooled = False
    tensor = network.outputs[0]
    while tensor is not cut:
        operation, sources = tensor._keras_history.operation, _sources(tensor)
        if isinstance(operation, layers.Dense) and kernel is None and operation.activation.__name__ == "linear":
            kernel = np.asarray(operation.kernel, np.float32)
        elif isinstance(operation, layers.GlobalAveragePooling2D) and not operation.keepdims and kernel is not None:
            pooled = True
        elif not isinstance(operation, layers.Dropout) or len(sources) != 1:
            return None
        tensor = sources[0]
    return kernel if pooled else None


def _split(network: Any, cut: Any, method: Method) -> tuple[Any, Any]:
    """A model from photos to the map and the logits, and for gradients one from the map to the logits."""
    import keras

    front = keras.Model(network.inputs[0], [cut, network.outputs[0]])
    return front, keras.Model(cut, network.outputs[0]) if method == "gradient" else None


def _gradients(head: Any, maps: NDArray[np.float32], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    """How the logits of the chosen classes move with the map: float32 [n, h, w, channels]."""
    import keras
    from keras import ops

    def picked(features: Any) -> Any:
        return ops.sum(ops.take_along_axis(head(features, training=False), chosen[:, None], axis=1))

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        features = tf.convert_to_tensor(maps)
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = picked(features)
        return np.asarray(tape.gradient(total, features), np.float32)
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(picked)(ops.convert_to_tensor(maps)), np.float32)
    raise RequestError(
        f"Grad-CAM needs the TensorFlow or JAX backend of Keras, not '{backend}'.", "Set KERAS_BACKEND to tensorflow."
    )
