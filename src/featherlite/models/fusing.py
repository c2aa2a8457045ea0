"""What a converter computes together, and what it leaves out: the one place that says so, layer by layer.

LiteRT computes a convolution together with the BatchNorm and the ReLU behind it and with padding before it that amounts
to "same", and nothing of what only training needs.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = [
    "CLAMPED",
    "FUSED_ACTIVATIONS",
    "KERNELS",
    "SCALING",
    "TRAINING_ONLY",
    "activation_name",
    "is_clamp",
    "is_linear",
    "is_same_padding",
]

FUSED_ACTIVATIONS: Final = ("linear", "relu", "relu6")
"""What a convolution computes together with its sum."""

TRAINING_ONLY: Final = frozenset(
    (
        *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity"),
        "SpatialDropout2D",
    )
)
"""Layers that are gone once training is over."""

KERNELS: Final = frozenset(("Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D"))
SCALING: Final = frozenset(("BatchNormalization", "Rescaling"))
"""What vanishes in the kernel that it alone follows."""

CLAMPED: Final = KERNELS | SCALING | frozenset(("Add", "Multiply", "Subtract"))
"""What a ReLU behind it is computed together with."""

_CEILINGS: Final = {None: "relu", 6: "relu6"}


def activation_name(layer: Any) -> str:
    """'linear' where a layer applies no activation at its end, else the name of the function, which tells Keras's own.

    A layer may be given as an activation: a plain ReLU is 'relu' or 'relu6' then too, and all others have the name of
    their class, which no rule knows, since they have slopes and ceilings of their own.
    """
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear"
    kind = type(function).__name__
    if kind == "ReLU" and not function.negative_slope and not function.threshold:
        return _CEILINGS.get(function.max_value, kind)
    return str(getattr(function, "__name__", kind))


def is_linear(operation: Any) -> bool:
    """Whether it is an activation that does nothing."""
    return type(operation).__name__ == "Activation" and activation_name(operation) == "linear"


def is_clamp(operation: Any) -> bool:
    """Whether it is a ReLU or ReLU6, as a layer or as a bare operation."""
    kind = type(operation).__name__
    if kind == "ReLU":
        return operation.max_value in _CEILINGS and not operation.negative_slope and not operation.threshold
    return kind in ("Relu", "Relu6") or (kind == "Activation" and activation_name(operation) in ("relu", "relu6"))


def is_same_padding(padding: Any, target: Any) -> bool:
    """Whether a layer of zeros and the convolution behind it, 'valid', are what that would do itself under 'same'.

    TensorFlow's 'same' pads max((ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) in all, the smaller half before.
    """
    if type(target).__name__ not in ("Conv2D", "DepthwiseConv2D") or target.padding != "valid":
        return False
    for side, given, kernel, stride, dilation in zip(
        padding.input.shape[1:3],
        padding.padding,
        target.kernel_size,
        target.strides,
        target.dilation_rate,
        strict=True,
    ):
        total = max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
        if tuple(given) != (total // 2, total - total // 2):
            return False
    return True
