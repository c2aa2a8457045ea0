"""ConvNeXt-Tiny from keras.applications."""

from __future__ import annotations

from typing import Any

from featherlite.models.backbones.card import Card, Order

__all__ = ["CARDS", "build"]

CARDS = (
    Card(
        name="ConvNeXtTiny",
        family="convnext",
        summary="A convolutional network with a transformer's proportions; for servers.",
        paper="Liu et al., A ConvNet for the 2020s, 2022, arXiv:2201.03545",
        constructor="keras.applications.ConvNeXtTiny",
        source="keras.applications, converted from facebookresearch/ConvNeXt",
        weights_licence="MIT",
        convention=None,
        input_px=224,
        min_px=32,
        parameters=27_813_504,
        macs=4_454_763_264,
        imagenet_widths=(1.0,),
        torch_source="timm/convnext_tiny.fb_in1k",
        torch_licence="Apache-2.0",
    ),
)


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: pixels 0..255, float32 [n, h, w, 3] -> [n, h/32, w/32, 768]."""
    import keras

    return keras.applications.ConvNeXtTiny(
        input_shape=order.shape, include_top=False, weights="imagenet" if order.imagenet else None
    )
