"""EfficientNet B0 to B3 and V2-B0 from keras.applications."""

from __future__ import annotations

from typing import Any

from featherlite.models.backbones.card import Card, Order

__all__ = ["CARDS", "build", "ready"]

_PAPER = "Tan and Le, EfficientNet, 2019, arXiv:1905.11946"


def _card(index: int, px: int, parameters: int, macs: int) -> Card:
    return Card(
        name=f"EfficientNetB{index}",
        family="efficientnet",
        summary="Inverted residuals with squeeze-and-excite and swish, scaled in depth, width and resolution.",
        paper=_PAPER,
        constructor=f"keras.applications.EfficientNetB{index}",
        source="keras.applications, converted from google/tpu checkpoints",
        weights_licence="Apache-2.0",
        convention=None,
        input_px=px,
        min_px=32,
        parameters=parameters,
        macs=macs,
        imagenet_widths=(1.0,),
        torch_source=f"timm/tf_efficientnet_b{index}.in1k",
        torch_licence="Apache-2.0",
    )


CARDS = (
    _card(0, 224, 4_049_564, 384_534_752),
    _card(1, 240, 6_575_232, 685_522_832),
    _card(2, 260, 7_768_562, 992_153_872),
    _card(3, 300, 10_783_528, 1_825_605_392),
    Card(
        name="EfficientNetV2B0",
        family="efficientnet",
        summary="Fused expansions where maps are large, squeeze-and-excite where small; trains faster than B0.",
        paper="Tan and Le, EfficientNetV2, 2021, arXiv:2104.00298",
        constructor="keras.applications.EfficientNetV2B0",
        source="keras.applications, converted from google/automl checkpoints",
        weights_licence="Apache-2.0",
        convention=None,
        input_px=224,
        min_px=32,
        parameters=5_919_312,
        macs=716_806_176,
        imagenet_widths=(1.0,),
        torch_source="timm/tf_efficientnetv2_b0.in1k",
        torch_licence="Apache-2.0",
    ),
)

_DEVIATIONS = (0.229, 0.224, 0.225)
"""ImageNet's standard deviations of the channels, of pixels in 0..1."""


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: pixels 0..255, [n, h, w, 3] -> [n, h/32, w/32, channels]."""
    import keras

    constructor = getattr(keras.applications, order.card.constructor.rpartition(".")[2])
    return constructor(input_shape=order.shape, include_top=False, weights="imagenet" if order.imagenet else None)


def ready(model: Any) -> None:
    """Mends the input scale of ImageNet weights that were loaded from a file.

    The published weights hold the channels' standard deviations where `Normalization` expects variances.
    `keras.applications` makes up for it with one more `Rescaling`, but only where it downloads the weights itself;
    a network built bare and loaded from a file lacks that layer. Here the variances are put right instead.
    """
    import keras
    import numpy as np

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    rescalings = [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling)]
    for layer in layers:
        if not layer.weights:  # V2 is built with its figures
            continue
        mean, variance, count = layer.get_weights()
        if len(rescalings) == 1 and np.allclose(variance.ravel(), _DEVIATIONS, atol=1e-3):
            layer.set_weights([mean, np.square(variance), count])
            layer.finalize_state()
