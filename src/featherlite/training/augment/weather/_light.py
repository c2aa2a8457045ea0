"""What the kinds share: linear light, and noise that is computed from a number instead of being drawn.

Noise of a photo's size would be the largest thing that is drawn for it. It is hashed from the pixel's number and one
drawn seed, so that it comes out the same wherever it is computed.
"""

from __future__ import annotations

from typing import Any

from keras import ops

__all__ = ["between", "decoded", "encoded", "hashed", "normal", "per_photo", "quarters", "seed_of", "uniform"]


def per_photo(values: Any) -> Any:
    """Values [n] as [n, 1, 1, 1]."""
    return ops.reshape(values, (-1, 1, 1, 1))


def between(low: float, high: float, share: Any) -> Any:
    """From low (share 0) to high (share 1) in equal ratios."""
    return low * (high / low) ** share


def decoded(light: Any) -> Any:
    """Encoded light in 0..1 as linear light, by a gamma of 2: near enough to sRGB, and no power is computed."""
    return ops.square(light)


def encoded(light: Any) -> Any:
    """Linear light as encoded light in 0..1."""
    return ops.sqrt(ops.clip(light, 0.0, 1.0))


def seed_of(free: Any) -> Any:
    """A seed int32 from uniform numbers."""
    return ops.cast(free * 2.0**24, "int32")


def hashed(keys: Any) -> Any:
    """int32 of the same shape as the keys, int32, each bit of which looks like chance.

    Source: A. Appleby, MurmurHash3 (public domain): its 32-bit finalizer.
    """
    for shift, factor in ((16, -2048144789), (13, -1028477387)):
        keys = ops.bitwise_xor(keys, _shifted(keys, shift))
        keys = keys * factor
    return ops.bitwise_xor(keys, _shifted(keys, 16))


def _shifted(keys: Any, bits: int) -> Any:
    """Shifted right with noughts coming in, as of an unsigned number."""
    return ops.bitwise_and(ops.bitwise_right_shift(keys, bits), 2 ** (32 - bits) - 1)


def uniform(keys: Any) -> Any:
    """float32 in [0, 1), one a key."""
    return ops.cast(ops.bitwise_and(hashed(keys), 0xFFFFFF), "float32") * 2.0**-24


def quarters(keys: Any) -> tuple[Any, ...]:
    """Four float32 in [0, 1) a key, in steps of 1/256: the bytes of one hash, where that is fine enough."""
    words = hashed(keys)
    return tuple(ops.cast(byte, "float32") * (1.0 / 256.0) for byte in _bytes(words))


def _bytes(words: Any) -> list[Any]:
    return [ops.bitwise_and(ops.bitwise_right_shift(words, shift), 255) for shift in (0, 8, 16, 24)]


def normal(seed: Any, shape: tuple[int, ...]) -> Any:
    """Noise [n, *shape] of mean 0 and deviation 1, from seeds int32 [n]; nearly normal, within 3.5.

    The sum of the four bytes of a hash (Irwin and Hall's distribution).
    """
    size = 1
    for side in shape:
        size *= side
    words = hashed(hashed(seed)[:, None] + ops.arange(size, dtype="int32")[None, :])
    total: Any = 0
    for byte in _bytes(words):
        total = total + byte
    deviation = 2 * ((256**2 - 1) / 12) ** 0.5
    return ops.reshape((ops.cast(total, "float32") - 510.0) * (1.0 / deviation), (-1, *shape))
