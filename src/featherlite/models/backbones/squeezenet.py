"""SqueezeNet 1.0 and 1.1: fire modules, no BatchNorm, some fifty times fewer weights than AlexNet.

A fire module squeezes to few channels by a 1x1 convolution and expands again by 1x1 and 3x3 ones side by side. Source:
Iandola et al. 2016, table 1; version 1.1, which halves the map earlier, is the authors' own
(github.com/forresti/SqueezeNet, SqueezeNet_v1.1). The backbone ends with fire9: the published classifier, a 1x1
convolution to the classes whose map is averaged, is left to the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featherlite.models.backbones.card import Card, Convention, Order

__all__ = ["CARDS", "build", "torch_names"]

_PAPER = "Iandola et al., SqueezeNet, 2016, arXiv:1602.07360"
_CAFFE = Convention(scale=(1.0, 1.0, 1.0), offset=(-104.0, -117.0, -123.0), order="BGR")


@dataclass(frozen=True)
class _Version:
    """What the versions differ in: the first convolution, and behind which fire modules the map is halved."""

    channels: int
    kernel: int
    pools: tuple[int, ...]


_VERSIONS: Mapping[str, _Version] = {
    "SqueezeNet1_0": _Version(96, 7, (4, 8)),
    "SqueezeNet1_1": _Version(64, 3, (3, 5)),
}
_SQUEEZED = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""Channels of each fire module's squeeze; either expansion has four times as many. Source: table 1."""
_PARTS = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
"""The convolutions of a fire module, as in Caffe's files, and what torchvision calls them."""


def _card(name: str, summary: str, min_px: int, parameters: int, macs: int) -> Card:
    return Card(
        name=name,
        family="squeezenet",
        summary=summary,
        paper=_PAPER,
        constructor="featherlite.models.backbones.squeezenet.build",
        input_px=224,
        min_px=min_px,
        parameters=parameters,
        macs=macs,
        convention=_CAFFE,
        torch_source=f"torchvision's {name.lower()}",
        torch_licence="BSD-3-Clause",
    )


CARDS = (
    _card("SqueezeNet1_0", "Fire modules in place of plain convolutions; few weights.", 21, 735_424, 732_396_576),
    _card("SqueezeNet1_1", "SqueezeNet halving its maps earlier: less than half the work.", 17, 722_496, 262_623_936),
)


def build(order: Order) -> Any:
    """The network as its authors feed it, without top: float32 [n, h, w, 3] -> float32 [n, about h/16, w/16, 512]."""
    import keras

    version = _VERSIONS[order.card.name]
    inputs = keras.Input(order.shape, name="photo")
    x = _convolution(inputs, "conv1", version.channels, version.kernel, stride=2)
    x = _halved(x, "pool1")
    for number, squeezed in _SQUEEZED.items():
        x = _fire(x, f"fire{number}", squeezed)
        if number in version.pools:
            x = _halved(x, f"pool{number}")
    return keras.Model(inputs, x, name=order.card.name)


def torch_names(card: Card) -> Mapping[str, str]:
    """The module in torchvision's state dict of each layer with weights; there is one layout only."""
    names = {"conv1": "features.0"}
    place = 3  # behind the convolution, its ReLU and the pooling
    for number in _SQUEEZED:
        names |= {f"fire{number}_{part}": f"features.{place}.{theirs}" for part, theirs in _PARTS.items()}
        place += 2 if number in _VERSIONS[card.name].pools else 1
    return names


def _fire(x: Any, name: str, squeezed: int) -> Any:
    from keras import layers

    x = _convolution(x, f"{name}_squeeze1x1", squeezed, 1)
    one = _convolution(x, f"{name}_expand1x1", 4 * squeezed, 1)
    three = _convolution(x, f"{name}_expand3x3", 4 * squeezed, 3)
    return layers.Concatenate(name=f"{name}_concat")([one, three])


def _convolution(x: Any, name: str, channels: int, kernel: int, stride: int = 1) -> Any:
    """Convolution with bias, and ReLU. Nothing is normalized, so the first weights must keep the signal's size."""
    from keras import layers

    padding = "same" if stride == 1 else "valid"
    x = layers.Conv2D(channels, kernel, stride, padding=padding, kernel_initializer="he_uniform", name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _halved(x: Any, name: str) -> Any:
    """The largest of each 3x3, two apart; a window may reach over the far edge, as in Caffe (size rounded up).

    An even side is what 'same' rounds up, padding it at its far end alone; an odd side fits without padding, where
    'same' would pad both ends and shift the windows.
    """
    from keras import layers

    even = [size % 2 == 0 for size in x.shape[1:3]]
    if even[0] == even[1]:
        return layers.MaxPooling2D(3, 2, padding="same" if even[0] else "valid", name=name)(x)
    # Zeros at the far end of the even side do not matter, since nothing here is negative.
    ends = tuple((0, int(side)) for side in even)
    return layers.MaxPooling2D(3, 2, name=name)(layers.ZeroPadding2D(ends, name=f"{name}_pad")(x))
