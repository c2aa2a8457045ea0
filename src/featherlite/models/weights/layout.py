"""Networks of keras.applications laid out as the weights were trained: padding and BatchNorm's epsilon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featherlite.models.weights.namings import Naming

if TYPE_CHECKING:
    import keras

__all__ = ["laid_out"]


def laid_out(model: keras.Model, naming: Naming) -> keras.Model:
    """The same network, untrained, as the naming's library has it.

    Under 'torch', convolutions with a stride are padded by half their kernel on all sides, where Keras pads an even map
    at its end alone; a map's size stays the same.
    """
    if naming.layout is None:
        return model
    import keras

    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    strided = {
        layer.name: tuple(size // 2 for size in layer.kernel_size)
        for layer in model.layers
        if naming.layout == "torch" and isinstance(layer, kinds) and max(layer.strides) > 1
    }
    padded = {name for name in strided if model.get_layer(name).padding == "same"}
    explicit = {_before(model, name): margin for name, margin in strided.items() if name not in padded}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in padded:
            config["padding"] = "valid"
        if layer.name in explicit:
            config["padding"] = tuple((margin, margin) for margin in explicit[layer.name])
        if isinstance(layer, keras.layers.BatchNormalization) and naming.epsilon is not None:
            config["epsilon"] = naming.epsilon
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if layer.name in padded:
            photo, *rest = args
            return layer(
                keras.layers.ZeroPadding2D(strided[layer.name], name=f"{layer.name}_pad")(photo), *rest, **kwargs
            )
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=clone, call_function=call)


def _before(model: keras.Model, name: str) -> str:
    """The name of the layer before that of this name."""
    return str(model.get_layer(name).input._keras_history.operation.name)
