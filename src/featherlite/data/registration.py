"""Lays one thumbnail over another: which box of A shows what B shows, and how alike the two then are.

Two thumbnails of the same picture agree in their fine detail once one is cropped and scaled as the other was; those of
two pictures that merely look alike, such as a dandelion before a meadow and another one, do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["likeness"]

Floats = NDArray[np.float32]

DAMPING = 0.02
"""Added to the diagonal of the normal equations, as a share of the pixels: flat pictures must not send the box away."""

FINE = (0.25, 0.5, 0.25)
BROAD = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
LEAST_COARSE = 0.75
"""Pairs whose coarse correlation stays below are not worth the fine search (it loses 0 of 2,200 planted copies)."""


def likeness(first: Floats, second: Floats, boxes: Floats) -> Floats:
    """How well each thumbnail of `second` is a box of that of `first`: float32 [n], 0..1, 1 for the same picture.

    `first`, `second`: float32 [n, s, s], s even; `boxes`: float32 [n, 4], where the search begins: left, top, width,
    height as shares of the side. The box is fitted by Gauss-Newton on normalized intensities, at half the size first,
    so light and contrast do not count. The likeness is the correlation of what is finer than a blur (the fine detail),
    or 0 where the pictures as wholes correlate by less than 0.85.

    Source: S. Baker and I. Matthews, "Lucas-Kanade 20 Years On: A Unifying Framework" (IJCV 2004), section 2, with a
    warp of two scales and two shifts.
    """
    boxes, coarse = _fit(_halved(first), _halved(second), boxes, steps=3)
    kept = np.flatnonzero(coarse > LEAST_COARSE)
    result = np.zeros(len(first), np.float32)
    if len(kept) == 0:
        return result
    first, second = first[kept], second[kept]
    boxes, whole = _fit(_smooth(first, FINE), _smooth(second, FINE), boxes[kept], steps=4)
    detail = _detail(_warped(first, boxes)), _detail(second)
    result[kept] = np.where(whole > 0.85, np.clip(_correlation(*detail), 0.0, 1.0), 0.0)
    return result


def _fit(first: Floats, second: Floats, boxes: Floats, steps: int) -> tuple[Floats, Floats]:
    """The fitted boxes and the correlation that they reach."""
    side = first.shape[1]
    across = (np.arange(side, dtype=np.float32) + 0.5) / side
    wanted = _normalized(second)
    for _ in range(steps):
        seen = _normalized(_warped(first, boxes))
        down, right = np.gradient(seen, axis=(1, 2))
        right = right * (side / boxes[:, 2, None, None])  # per share of the side of `first`
        down = down * (side / boxes[:, 3, None, None])
        slopes = np.stack([right, down, right * across, down * across[:, None]], axis=1).reshape(len(first), 4, -1)
        normal = slopes @ slopes.transpose(0, 2, 1) + np.eye(4, dtype=np.float32) * (DAMPING * side**4)
        pull = slopes @ (wanted - seen).reshape(len(first), -1, 1)
        moves = np.linalg.solve(normal, pull)[:, :, 0]
        boxes = boxes + np.clip(moves, -1 / 16, 1 / 16).astype(np.float32)
        boxes[:, 2:] = np.clip(boxes[:, 2:], 0.6, 1.2)
    return boxes, np.asarray((_normalized(_warped(first, boxes)) * wanted).mean(axis=(1, 2)), np.float32)


def _warped(pictures: Floats, boxes: Floats) -> Floats:
    """The boxes of the pictures at full size, sampled bilinearly; beyond the edge its pixels go on."""
    side = pictures.shape[1]
    down, right = _sampler(boxes[:, 1], boxes[:, 3], side), _sampler(boxes[:, 0], boxes[:, 2], side)
    return np.asarray(down @ pictures @ right.transpose(0, 2, 1), np.float32)


def _sampler(start: Floats, length: Floats, side: int) -> Floats:
    """Weights [n, side, side]: row r of sample i says how source cells make up cell r of the box."""
    cells = (np.arange(side, dtype=np.float32) + 0.5) / side
    places = (start[:, None] + cells * length[:, None]) * side - 0.5
    places = np.clip(places, 0, side - 1)
    return np.asarray(np.maximum(0.0, 1.0 - np.abs(places[:, :, None] - np.arange(side, dtype=np.float32))), np.float32)


def _normalized(pictures: Floats) -> Floats:
    """Mean 0, variance 1; the half level added to the variance keeps noise small in flat pictures."""
    centered = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    return np.asarray(centered / np.sqrt((centered**2).mean(axis=(1, 2), keepdims=True) + 0.5), np.float32)


def _detail(pictures: Floats) -> Floats:
    return pictures - _smooth(pictures, BROAD)


def _correlation(first: Floats, second: Floats) -> Floats:
    power = (first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2))
    return np.asarray((first * second).sum(axis=(1, 2)) / np.sqrt(power + 1e-3), np.float32)


def _halved(pictures: Floats) -> Floats:
    half = pictures.shape[1] // 2
    return np.asarray(pictures.reshape(-1, half, 2, half, 2).mean(axis=(2, 4)), np.float32)


def _smooth(pictures: Floats, kernel: tuple[float, ...]) -> Floats:
    """Blurred by a separable kernel of odd length; beyond the edge its pixels go on."""
    side, reach = pictures.shape[1], len(kernel) // 2
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    down, both = np.zeros_like(padded[:, :side]), np.zeros_like(pictures)
    for place, weight in enumerate(kernel):
        down += np.float32(weight) * padded[:, place : place + side]
    for place, weight in enumerate(kernel):
        both += np.float32(weight) * down[:, :, place : place + side]
    return both
