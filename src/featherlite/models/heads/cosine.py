"""cosine: how alike the features' direction and each class's are, whatever their lengths; for few photos a class."""

from __future__ import annotations

from typing import Any

__all__ = ["SMALLEST", "cosine"]

SMALLEST = 1e-12
"""Below this squared length, features are divided by its root instead of their own length: those of zero stay zero."""


def cosine(features: Any, classes: int, *, dropout: float, cosine_scale: float) -> Any:
    """Logits, float32 [n, classes], of pooled features: `cosine_scale` times the cosine between them and each class.

    A class's column of the kernel has length one: a constraint brings it back there after each step of the optimizer,
    so that the network holds it in that form, and on a device it is a plain FULLY_CONNECTED behind L2_NORMALIZATION.
    No class can win by a long column, as those with more photos do otherwise.

    Source: S. Gidaris and N. Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting" (arXiv:1804.09458),
    equation 4; H. Qi, M. Brown and D. G. Lowe, "Low-Shot Learning with Imprinted Weights" (arXiv:1712.07136),
    section 3.2. Both learn the scale; it is fixed here.
    """
    from keras import constraints, layers, ops

    from featherlite.models.named import named

    x = layers.Dropout(dropout, name="head_dropout")(features)
    # Spelled out, since LiteRT knows this form as L2_NORMALIZATION and has no int8 kernel for that of Keras's layer.
    squares = named(ops.square(x), "head_square")
    length = named(ops.sum(squares, axis=-1, keepdims=True), "head_sum")
    inverse = named(ops.rsqrt(named(ops.maximum(length, SMALLEST), "head_floor")), "head_inverse")
    x = layers.Multiply(name="head_unit")([x, inverse])
    x = layers.Rescaling(cosine_scale, name="head_scale")(x)
    columns = layers.Dense(classes, use_bias=False, kernel_constraint=constraints.UnitNorm(axis=0), name="head_logits")
    logits = columns(x)
    columns.kernel.assign(columns.kernel_constraint(columns.kernel))
    return logits
