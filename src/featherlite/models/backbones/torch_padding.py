"""Convolutions padded as torch pads them: alike on all sides, as the weights made there expect it.

With stride 1 that is what 'same' does; with stride 2 'same' would pad an even map at one end alone.
"""

from __future__ import annotations

from typing import Any

from featherlite.models.backbones.card import MOMENTUM

__all__ = ["convolution", "depthwise"]


def convolution(x: Any, conv: str, norm: str, channels: int, kernel: int, stride: int) -> Any:
    """A convolution without bias and its BatchNorm, named `conv` and `norm`: [n, h, w, c] -> [n, h', w', channels]."""
    from keras import layers

    layer = layers.Conv2D(
        channels,
        kernel,
        stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=conv,
    )
    return _normalized(layer(_padded(x, conv, kernel, stride)), norm)


def depthwise(x: Any, conv: str, norm: str, kernel: int, stride: int) -> Any:
    """The same with one kernel a channel: [n, h, w, c] -> [n, h', w', c]."""
    from keras import layers

    padding = "same" if stride == 1 else "valid"
    layer = layers.DepthwiseConv2D(kernel, stride, padding=padding, use_bias=False, name=conv)
    return _normalized(layer(_padded(x, conv, kernel, stride)), norm)


def _normalized(x: Any, norm: str) -> Any:
    from keras import layers

    return layers.BatchNormalization(epsilon=1e-5, momentum=MOMENTUM, name=norm)(x)


def _padded(x: Any, conv: str, kernel: int, stride: int) -> Any:
    from keras import layers

    return layers.ZeroPadding2D(kernel // 2, name=f"{conv}_pad")(x) if stride > 1 and kernel > 1 else x
