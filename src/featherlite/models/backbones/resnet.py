"""ResNet50 from keras.applications."""

from __future__ import annotations

from typing import Any

from featherlite.models.backbones.card import Card, Convention, Order

__all__ = ["CARDS", "build"]

CARDS = (
    Card(
        name="ResNet50",
        family="resnet",
        summary="Bottleneck residual blocks; a strong teacher and the usual yardstick.",
        paper="He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385",
        constructor="keras.applications.ResNet50",
        source="keras.applications, converted from KaimingHe/deep-residual-networks",
        weights_licence="MIT",
        convention=Convention(scale=(1.0, 1.0, 1.0), offset=(-103.939, -116.779, -123.68), order="BGR"),
        input_px=224,
        min_px=32,
        parameters=23_587_712,
        macs=3_855_925_248,
        imagenet_widths=(1.0,),
    ),
)


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: BGR minus means, [n, h, w, 3] -> [n, h/32, w/32, 2048]."""
    import keras

    return keras.applications.ResNet50(
        input_shape=order.shape, include_top=False, weights="imagenet" if order.imagenet else None
    )
