"""MobileNet V1, V2 and V3 from keras.applications."""

from __future__ import annotations

from typing import Any

from featherlite.models.backbones.card import Card, Convention, Order

__all__ = ["CARDS", "build"]

_SYMMETRIC = Convention(scale=(1 / 127.5,) * 3, offset=(-1.0,) * 3)
_SOURCE = "keras.applications, converted from TensorFlow's own checkpoints"

CARDS = (
    Card(
        name="MobileNetV1",
        family="mobilenet",
        summary="Depthwise separable convolutions in a plain chain; its narrow versions fit microcontrollers.",
        paper="Howard et al., MobileNets, 2017, arXiv:1704.04861",
        constructor="keras.applications.MobileNet",
        source=_SOURCE,
        weights_licence="Apache-2.0",
        convention=_SYMMETRIC,
        input_px=224,
        min_px=32,
        parameters=3_228_864,
        macs=567_716_352,
        options=("width", "cut"),
        imagenet_widths=(0.25, 0.5, 0.75, 1.0),
    ),
    Card(
        name="MobileNetV2",
        family="mobilenet",
        summary="Inverted residuals with linear bottlenecks; ReLU6 alone, so it quantizes well.",
        paper="Sandler et al., MobileNetV2, 2018, arXiv:1801.04381",
        constructor="keras.applications.MobileNetV2",
        source=_SOURCE,
        weights_licence="Apache-2.0",
        convention=_SYMMETRIC,
        input_px=224,
        min_px=32,
        parameters=2_257_984,
        macs=299_494_272,
        options=("width", "cut"),
        imagenet_widths=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
        torch_source="timm/mobilenetv2_100.ra_in1k",
        torch_licence="Apache-2.0",
    ),
    Card(
        name="MobileNetV3Small",
        family="mobilenet",
        summary="Searched for phones: squeeze-and-excite and hard swish; loses accuracy in int8 without care.",
        paper="Howard et al., Searching for MobileNetV3, 2019, arXiv:1905.02244",
        constructor="keras.applications.MobileNetV3Small",
        source=_SOURCE,
        weights_licence="Apache-2.0",
        convention=None,
        input_px=224,
        min_px=32,
        parameters=939_120,
        macs=54_896_576,
        options=("width", "cut"),
        imagenet_widths=(0.75, 1.0),
        torch_source="timm/mobilenetv3_small_100.lamb_in1k",
        torch_licence="Apache-2.0",
    ),
    Card(
        name="MobileNetV3Large",
        family="mobilenet",
        summary="The larger of the two V3 searches, for phones.",
        paper="Howard et al., Searching for MobileNetV3, 2019, arXiv:1905.02244",
        constructor="keras.applications.MobileNetV3Large",
        source=_SOURCE,
        weights_licence="Apache-2.0",
        convention=None,
        input_px=224,
        min_px=32,
        parameters=2_996_352,
        macs=214_080_960,
        options=("width", "cut"),
        imagenet_widths=(0.75, 1.0),
        torch_source="timm/mobilenetv3_large_100.ra_in1k",
        torch_licence="Apache-2.0",
    ),
)


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: float32 [n, h, w, 3] -> float32 [n, h/32, w/32, channels]."""
    import keras

    constructor = getattr(keras.applications, order.card.constructor.rpartition(".")[2])
    return constructor(
        input_shape=order.shape,
        alpha=order.width,
        include_top=False,
        weights="imagenet" if order.imagenet else None,
    )
