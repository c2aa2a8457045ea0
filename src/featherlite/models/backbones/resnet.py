"""ResNet 18, 34 and 50: residual blocks, in torch's layout, and keras.applications' ResNet50 for its weights.

The two layouts of ResNet50 differ in more than names: keras.applications halves the map in a block's first 1x1
convolution (as published), has biases, and BatchNorm with an epsilon of 1.001e-5; torch halves it in the 3x3
convolution ("v1.5"), has no biases, and 1e-5. Weights fit one of them only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from featherlite.models.backbones.card import Card, Convention, Order
from featherlite.models.backbones.torch_padding import convolution

__all__ = ["CARDS", "build", "torch_names"]

_PAPER = "He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385"
_OWN = "featherlite.models.backbones.resnet.build"

CARDS = (
    Card(
        name="ResNet18",
        family="resnet",
        summary="Eight residual blocks of two plain 3x3 convolutions; quantizes well.",
        paper=_PAPER,
        constructor=_OWN,
        input_px=224,
        min_px=32,
        parameters=11_186_112,
        macs=1_813_561_344,
        torch_source="timm/resnet18.tv_in1k, torchvision's resnet18",
        torch_licence="BSD-3-Clause",
    ),
    Card(
        name="ResNet34",
        family="resnet",
        summary="Sixteen residual blocks of two plain 3x3 convolutions.",
        paper=_PAPER,
        constructor=_OWN,
        input_px=224,
        min_px=32,
        parameters=21_301_696,
        macs=3_663_249_408,
        torch_source="timm/resnet34.tv_in1k, torchvision's resnet34",
        torch_licence="BSD-3-Clause",
    ),
    Card(
        name="ResNet50",
        family="resnet",
        summary="Bottleneck residual blocks; a strong teacher and the usual yardstick.",
        paper=_PAPER,
        constructor="keras.applications.ResNet50",
        source="keras.applications, converted from KaimingHe/deep-residual-networks",
        weights_licence="MIT",
        convention=Convention(scale=(1.0, 1.0, 1.0), offset=(-103.939, -116.779, -123.68), order="BGR"),
        input_px=224,
        min_px=32,
        parameters=23_587_712,
        macs=3_855_925_248,
        imagenet_widths=(1.0,),
        torch_source="timm/resnet50.tv_in1k, torchvision's resnet50",
        torch_licence="BSD-3-Clause",
    ),
)

_BLOCKS: Mapping[str, tuple[Literal["basic", "bottleneck"], tuple[int, ...]]] = {
    "ResNet18": ("basic", (2, 2, 2, 2)),
    "ResNet34": ("basic", (3, 4, 6, 3)),
    "ResNet50": ("bottleneck", (3, 4, 6, 3)),
}
"""The kind of block and how many there are at each resolution. Source: He et al. 2015, table 1."""
_CHANNELS = (64, 128, 256, 512)
_WIDENING = 4
"""How many times wider a bottleneck ends than its 3x3 convolution is."""


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: float32 [n, h, w, 3] -> float32 [n, h/32, w/32, channels].

    ResNet50 is that of keras.applications unless the order asks for torch's layout; the others have that one alone.
    """
    if order.card.name != "ResNet50" or order.torch:
        return _torch_layout(order)
    import keras

    return keras.applications.ResNet50(
        input_shape=order.shape, include_top=False, weights="imagenet" if order.imagenet else None
    )


def torch_names(card: Card) -> Mapping[str, str]:
    """The module in torchvision's and timm's state dict of each layer with weights, of torch's layout."""
    kind, stages = _BLOCKS[card.name]
    names = {"conv1": "conv1", "bn1": "bn1"}
    for stage, blocks in enumerate(stages, start=1):
        for block in range(blocks):
            layers = [f"{kind}{number}" for number in range(1, _depth(kind) + 1) for kind in ("conv", "bn")]
            if _projects(kind, stage, block):
                layers += ["downsample_0", "downsample_1"]
            names |= {
                f"layer{stage}_{block}_{layer}": f"layer{stage}.{block}.{layer.replace('_', '.')}" for layer in layers
            }
    return names


def _depth(kind: str) -> int:
    return 3 if kind == "bottleneck" else 2


def _projects(kind: str, stage: int, block: int) -> bool:
    """Whether the shortcut needs a convolution: where the map is halved or its channels change."""
    return block == 0 and (stage > 1 or kind == "bottleneck")


def _torch_layout(order: Order) -> Any:
    import keras
    from keras import layers

    kind, stages = _BLOCKS[order.card.name]
    inputs = keras.Input(order.shape, name="photo")
    x = convolution(inputs, "conv1", "bn1", 64, 7, 2)
    x = layers.ReLU(name="relu")(x)
    # Zeros are what torch's padding with minus infinity amounts to, since nothing here is negative.
    x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1, name="maxpool_pad")(x))
    for stage, (blocks, channels) in enumerate(zip(stages, _CHANNELS, strict=True), start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            projects = _projects(kind, stage, block)
            x = _block(x, f"layer{stage}_{block}", kind, channels, stride, projects)
    return keras.Model(inputs, x, name=order.card.name)


def _block(x: Any, name: str, kind: str, channels: int, stride: int, projects: bool) -> Any:
    """A residual block. Source: He et al. 2015, figure 5; the bottleneck's stride stands in its 3x3 convolution."""
    from keras import layers

    plan = [(channels, 3, stride), (channels, 3, 1)]
    if kind == "bottleneck":
        plan = [(channels, 1, 1), (channels, 3, stride), (channels * _WIDENING, 1, 1)]
    y = x
    for number, (width, kernel, step) in enumerate(plan, start=1):
        y = convolution(y, f"{name}_conv{number}", f"{name}_bn{number}", width, kernel, step)
        if number < len(plan):
            y = layers.ReLU(name=f"{name}_relu{number}")(y)
    if projects:
        x = convolution(x, f"{name}_downsample_0", f"{name}_downsample_1", plan[-1][0], 1, stride)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
