"""Layers that compute in float exactly what their int8 forms can hold: kernels and outputs are rounded to the levels.

Rounding has no gradient of use, so that it is passed straight through; what a range cuts off has none. They stand in a
network while it is trained for int8 or simulated, never in a bundle.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(arXiv:1712.05877), section 3; the gradient of a range's ends as in S. R. Jain et al., "Trained Quantization Thresholds"
(arXiv:1903.08066), section 3, for two ends as in Y. Bhalgat et al., "LSQ+" (arXiv:2004.09576), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal

import keras
from keras import ops

__all__ = [
    "FakeConv2D",
    "FakeDense",
    "FakeDepthwiseConv2D",
    "FakeRange",
    "FakeSwish",
    "Movement",
    "fake_quantized_values",
    "on_levels",
]

LEVELS: Final = 127
"""LiteRT quantizes kernels symmetrically, to -127 .. 127."""
STEPS: Final = 255
"""Steps between the lowest and the highest of int8's 256 values."""
ZERO: Final = 128
"""The place of int8's zero among its values."""
TIE: Final = 1e-3
"""How near to a half counts as one: a mean in float is not exact."""
SMALLEST: Final = 1e-6
"""The narrowest range: one of a layer that puts out nothing but zeros still needs a scale."""

Movement = Literal["learned", "moving", "fixed"]
"""How a range changes in training: by its gradient, as a running average of the extremes, or not at all."""


def _straight(rounded: Any, value: Any) -> Any:
    """The rounded value, with the gradient of the value itself."""
    return value + ops.stop_gradient(rounded - value)


def on_levels(kernel: Any, axes: tuple[int, ...]) -> Any:
    """The kernel on LiteRT's grid, its gradient passed straight through; `axes` are those that share a scale."""
    step = _step(kernel, axes)
    return _straight(_away(kernel / step) * step, kernel)


def _step(kernel: Any, axes: tuple[int, ...]) -> Any:
    """The distance of two levels of a kernel, for all that share one; no gradient."""
    largest = ops.stop_gradient(ops.max(ops.abs(kernel), axis=axes, keepdims=True))
    return ops.where(largest > 0, largest, ops.ones_like(largest)) / LEVELS


def fake_quantized_values(values: Any, low: Any, high: Any, *, pooled: bool = False, unit: Any = None) -> Any:
    """The values on the 256 levels between `low` <= 0 and `high` >= 0, as moved so that zero is a level of its own.

    The gradient is straight through for the values within, none for those that are cut off; the range's ends get that
    of the cut values and of what rounding did to the others. `pooled`: they are means of a few values on these levels,
    which often lie half-way between two, and which LiteRT then rounds away from the zero of int8. `unit`: they are
    whole multiples of it (but for the bias), which LiteRT brings to the levels in fixed point (`_in_fixed_point`).
    """
    scale = ops.maximum(high - low, SMALLEST) / STEPS
    exact = -low / scale
    zero = _straight(ops.round(exact), exact)
    places = values / scale
    if unit is not None:
        nearest = _in_fixed_point(ops.stop_gradient(values / unit), ops.stop_gradient(unit / scale))
    else:
        nearest = _rounded_away(places, zero - ZERO) if pooled else ops.round(places)
    cut = ops.clip(_straight(nearest, places) + zero, 0.0, float(STEPS))
    return (cut - zero) * scale


def _rounded_away(places: Any, shift: Any) -> Any:
    """The nearest whole numbers, halves away from where `places + shift` is zero."""
    stored = places + shift
    return ops.sign(stored) * ops.floor(ops.abs(stored) + 0.5 + TIE) - shift


def _in_fixed_point(sums: Any, factor: Any) -> Any:
    """What LiteRT makes of whole sums times a factor: the product is rounded twice, and halves away from zero.

    The factor is m 2^k with m in 0.5 .. 1; for k < 0 the sum times m is rounded first, and its share 2^k then: a value
    some hundredths from a half may so fall to the other side of it.

    Source: TensorFlow Lite, `MultiplyByQuantizedMultiplier`: the saturating rounding doubling high multiplication, and
    then the rounding division by a power of two.
    """
    exponent = ops.floor(ops.log2(factor)) + 1.0
    left, right = ops.maximum(exponent, 0.0), ops.minimum(exponent, 0.0)
    mantissa = factor * ops.power(2.0, -exponent)
    once = _away(ops.round(sums) * ops.power(2.0, left) * mantissa)
    return _away(once * ops.power(2.0, right))


def _away(values: Any) -> Any:
    return ops.sign(values) * ops.floor(ops.abs(values) + 0.5)


class FakeRange(keras.layers.Layer):  # type: ignore[misc]
    """What goes in, on the int8 levels of this range.

    A range may serve several places of a graph (a concatenation wants one for all that it joins), numbered by `place`
    in the call; `pooled` marks means of values that are on its levels already. `pace` is how many times as fast as a
    weight a learned range moves; `momentum` is that of the running average. `units` tells, by place, of what the values
    are whole multiples, where that is known: outside of training they are then rounded as in fixed point.
    """

    def __init__(
        self,
        low: float,
        high: float,
        movement: Movement = "fixed",
        *,
        places: int = 1,
        pace: float = 1.0,
        momentum: float = 0.99,
        **options: Any,
    ) -> None:
        super().__init__(**({"dtype": "float32"} | options))
        self.start, self.movement, self.places = (float(low), float(high)), movement, places
        self.pace, self.momentum = float(pace), float(momentum)
        self.units: dict[int, Callable[[], Any]] = {}
        if movement == "learned":
            self.range_low, self.range_high = (self._weight(end, 0.0, ()) for end in ("low", "high"))
        elif movement == "moving":
            self.range_low, self.range_high = (
                self._weight(end, value, (places,)) for end, value in zip(("low", "high"), self.start, strict=True)
            )

    def _weight(self, end: str, value: float, shape: tuple[int, ...]) -> Any:
        return self.add_weight(
            name=f"range_{end}",
            shape=shape,
            initializer=keras.initializers.Constant(value),
            trainable=self.movement == "learned",
        )

    def limits(self, width: int = 1) -> tuple[Any, Any]:
        """Low and high as they are by now; `width` is the number of values of a photo that they are learned from.

        A learned end is its start times exp(pace u), so that it keeps its sign and moves in proportion to its size.
        """
        if self.movement == "learned":
            # The more values a range is learned from, the steeper: scaled so, it leaves the weights their share of a
            # clipped gradient. Source: S. K. Esser et al., "Learned Step Size Quantization" (arXiv:1902.08153), 2.2.
            share = 1.0 / math.sqrt(max(1, width) * STEPS)
            ends = (_scaled(ops.convert_to_tensor(one), share) for one in (self.range_low, self.range_high))
            low, high = (first * ops.exp(self.pace * end) for first, end in zip(self.start, ends, strict=True))
            return low, high
        if self.movement == "moving":
            return ops.min(self.range_low), ops.max(self.range_high)
        return ops.convert_to_tensor(self.start[0]), ops.convert_to_tensor(self.start[1])

    def call(self, values: Any, training: bool | None = None, place: int = 0, pooled: bool = False) -> Any:
        """The values on the levels; in training a moving range first takes a step towards their extremes."""
        values = ops.cast(values, "float32")
        if self.movement == "moving" and training and self.trainable and not pooled:
            self._follow(values, place)
        # Rounding twice costs time and teaches nothing: training takes the nearest level.
        unit = None if training or pooled or place not in self.units else self.units[place]()
        return fake_quantized_values(values, *self.limits(math.prod(values.shape[1:])), pooled=pooled, unit=unit)

    def scale(self) -> Any:
        """The distance of two levels."""
        low, high = self.limits()
        return ops.maximum(high - low, SMALLEST) / STEPS

    def _follow(self, values: Any, place: int) -> None:
        values = ops.stop_gradient(values)
        mine = ops.one_hot(place, self.places)
        for end, seen in (
            (self.range_low, ops.minimum(ops.min(values), 0.0)),
            (self.range_high, ops.maximum(ops.max(values), 0.0)),
        ):
            end.assign(end + mine * (1.0 - self.momentum) * (seen - end))

    def compute_output_spec(self, values: Any, **_: Any) -> Any:
        """What goes in, in float32."""
        return keras.KerasTensor(values.shape, dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """What the layer is made again from."""
        config: dict[str, Any] = super().get_config()
        low, high = self.start
        named = {"low": low, "high": high, "movement": self.movement, "places": self.places}
        return config | named | {"pace": self.pace, "momentum": self.momentum}


def _scaled(value: Any, share: float) -> Any:
    """The value itself, with so much of its gradient."""
    held = ops.stop_gradient(value)
    return held + share * (value - held)


class FakeSwish(keras.layers.Layer):  # type: ignore[misc]
    """x times its sigmoid, which LiteRT stores in between: in steps of 1/256, whatever it is."""

    def call(self, values: Any) -> Any:
        """The values, float32 of any shape, after the activation."""
        return values * fake_quantized_values(ops.sigmoid(values), 0.0, STEPS / 256)


class _FakeKernel(keras.layers.Layer):  # type: ignore[misc]
    """Base: a layer whose kernel is rounded; `kernels` says whether each channel of a convolution has its own scale."""

    own_axes: tuple[int, ...] | None = None
    """The axes that one output channel spans; all but the last by default."""

    def __init__(self, *args: Any, kernels: str = "channel", **options: Any) -> None:
        super().__init__(*args, **options)
        self.kernels = kernels
        self.unit: Callable[[], Any] | None = None
        """Of what its sums are whole multiples, where that is known."""

    def axes(self) -> tuple[int, ...]:
        """The axes of the kernel that share a scale."""
        rank = len(self.kernel.shape)
        if self.kernels == "tensor":
            return tuple(range(rank))
        return self.own_axes or tuple(range(rank - 1))

    def levels(self) -> Any:
        """The kernel as int8 holds it."""
        return on_levels(ops.convert_to_tensor(self.kernel), self.axes())

    def stored(self) -> list[Any]:
        """Its weights as int8 holds them: the kernel on its levels, the bias in whole units of the sums."""
        weights = [self.levels()]
        if self.use_bias and self.unit is not None:
            unit = self.unit()
            return [*weights, _away(self.bias / unit) * unit]
        return [*weights, self.bias] if self.use_bias else weights

    def steps(self) -> Any:
        """The distance of two levels for each output channel, or for all: float32 [channels] or [1]."""
        return ops.reshape(_step(ops.convert_to_tensor(self.kernel), self.axes()), (-1,))

    def get_config(self) -> dict[str, Any]:
        """What the layer is made again from."""
        config: dict[str, Any] = super().get_config()
        return config | {"kernels": self.kernels}

    def _finished(self, values: Any) -> Any:
        """Sums with the bias added (channels last) and the layer's own activation applied."""
        if self.use_bias:
            values = values + self.bias
        return values if self.activation is None else self.activation(values)


class FakeConv2D(_FakeKernel, keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with a rounded kernel."""

    def call(self, inputs: Any) -> Any:
        """As the plain layer."""
        return self._finished(self.convolution_op(inputs, self.levels()))


class FakeDepthwiseConv2D(_FakeKernel, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """A depthwise convolution with a rounded kernel."""

    own_axes = (0, 1)

    def call(self, inputs: Any) -> Any:
        """As the plain layer."""
        sums = ops.depthwise_conv(
            inputs,
            self.levels(),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._finished(sums)


class FakeDense(_FakeKernel, keras.layers.Dense):  # type: ignore[misc]
    """A dense layer with a rounded kernel: one scale for all of it, as every artefact has it (`convert_worker`)."""

    def axes(self) -> tuple[int, ...]:
        """Both."""
        return (0, 1)

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG002 - the signature of its base
        """As the plain layer."""
        return self._finished(ops.matmul(inputs, self.levels()))
