"""photos out of focus or shaken: nothing in them is sharp

A network that is shown smears learns smears. Leave out those in which you could not name the subject yourself; keep the
rest where a camera in the field takes such photos too.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, hypot

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.look import View

SIDE = 128
"""Blur is judged at this long side, about what a small network sees: a blur that is gone at that size harms nobody, and
neither the grain of JPEG nor the softness of a photo that was enlarged twice counts."""

POINTS = {(0, 1): 16, (1, 0): 16, (1, 1): 12, (1, -1): 12}
"""Directions (down, across) and how many points of a line in them are looked at together, some 15 px each."""

CONTRAST = 0.4
"""What counts as an edge: a rise of at least this share of the photo's own range of luma ..."""

LEAST = 10
"""... and of at least this many levels of 256, which noise and the blocks of JPEG stay below."""

ENOUGH = 0.01
"""A direction in which fewer of the lines than this cross an edge says nothing."""

SHARPEST = 0.1
"""The width that this share of the edges stays below stands for the sharpest part of the photo: a flower before a soft
background is sharp."""

THRESHOLD = 0.5
LIMIT = 0.0212
"""Width of the sharpest edges, as a share of the long side, that scores THRESHOLD. Of 5,600 photos of flowers, birds
and things, 0.4% have none sharper; neither have 99% of 900 photos shaken by 6% to 10% of the width, nor any of 900
under a Gaussian with a sigma of 1.5% or more."""


def measure(view: View) -> float:
    """Width of the sharpest edges as a share of the long side, in the direction in which they are widest.

    An edge is as wide as its rise takes pixels at its steepest step: contrast / slope, whatever its contrast. Shaking
    leaves the edges along it sharp, hence each direction is judged by itself. Where there is contrast, and no edge in
    any direction, all of it is smeared over more than the lines are long; 0 where there is no contrast to judge by. A
    photo of fewer pixels than SIDE is judged as a part of one that has them: no edge is sharper than a pixel.
    """
    gray = view.gray
    scale = SIDE / max(gray.size)
    if scale < 1.0:
        gray = gray.resize(_scaled(gray.size, scale), Image.Resampling.BOX, reducing_gap=2.0)
    luma = np.asarray(gray)
    below = np.cumsum(gray.histogram())
    low, high = np.searchsorted(below, (0.01 * luma.size, 0.99 * luma.size))
    least = max(LEAST, ceil(CONTRAST * float(high - low)))
    widest = max(_edge_width(luma, direction, least) for direction in POINTS)
    if widest == 0.0 and least > LEAST and min(luma.shape) >= SIDE // 2:
        widest = float(max(POINTS.values()))
    return widest / SIDE


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _edge_width(luma: NDArray[np.uint8], direction: tuple[int, int], least: int) -> float:
    """Width in pixels of the sharpest edges along one direction; 0 where there are too few."""
    points = POINTS[direction]
    down, across = direction
    (height, width), reach = luma.shape, points - 1
    rows, columns = height - down * reach, width - abs(across) * reach
    if rows < 1 or columns < 1:
        return 0.0
    # Lines are runs of the flattened photo with a constant stride; those that wrap around its sides are cut off below.
    stride = down * width + across
    flat = luma.ravel()
    steps = np.maximum(flat[stride:], flat[:-stride]) - np.minimum(flat[stride:], flat[:-stride])
    left = reach if across < 0 else 0

    def inside(runs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # Only every second line and place: neighbors say the same. The flattening cuts the last row short.
        grid = np.zeros(rows * width, np.uint8)
        grid[: min(len(runs), len(grid))] = runs[: len(grid)]
        return grid.reshape(rows, width)[::2, left : left + columns : 2]

    rise = inside(_running(np.maximum, flat, points, stride)) - inside(_running(np.minimum, flat, points, stride))
    steepest = inside(_running(np.maximum, steps, points - 1, stride))
    edges = rise >= least
    count = int(np.count_nonzero(edges))
    if count < ENOUGH * edges.size:
        return 0.0
    widths: NDArray[np.float64] = rise[edges] / np.maximum(steepest[edges], 1)
    place = int(SHARPEST * count)
    return float(np.partition(widths, place)[place]) * hypot(down, across)


def _running(extreme: np.ufunc, values: NDArray[np.uint8], count: int, stride: int) -> NDArray[np.uint8]:
    """The extreme of each `count` values, `stride` apart, by doubling: 8 bits wide and in one piece, this is quick."""
    length = 1
    while length < count:
        more = min(length, count - length)
        values = extreme(values[more * stride :], values[: -more * stride])
        length += more
    return values


@check()
def blurred(evidence: Evidence) -> Iterator[Issue]:
    """The score rises from 0 where the sharpest edges take one pixel of 128, over 0.5 at LIMIT, to 1 at twice that."""
    width = evidence.looks["blurred"].astype(np.float64)
    scores = np.interp(width, (1 / SIDE, LIMIT, 2 * LIMIT), (0.0, 0.5, 1.0))
    return evidence.flag(
        "blurred", scores, THRESHOLD, lambda i: f"its sharpest edges are smeared over {width[i]:.1%} of its long side"
    )
