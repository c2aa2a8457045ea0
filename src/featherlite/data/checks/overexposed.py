"""photos that are burnt out or washed out: too much light

Where the light was too strong, color and shape are gone, and no editing brings them back. Leave out those in which the
subject cannot be seen; a subject on a white background is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featherlite.data.checks import check
from featherlite.data.evidence import Evidence
from featherlite.data.findings import Issue
from featherlite.data.light import quantile
from featherlite.data.look import View

TOP = 250
"""From this level of 255 on a channel counts as burnt out: JPEG moves the very top by a few levels."""

DARKEST = 0.05
"""Share of the pixels that may be darker in a photo that is washed out: a caption, a frame."""

WHITE = 0.25
"""What a pixel counts that is white: backgrounds, frames and petals are white without being burnt out. One in which two
channels are burnt out and the third is not has lost its true color for certain."""

THRESHOLD = 0.5
BURNT = 0.105
"""Share of burnt out pixels, white ones at WHITE, that scores THRESHOLD: 0.6% of 5,100 photos of flowers and birds have
more (half of them on white backgrounds), and so do 98% of 600 photos of which 50% to 85% was blown out."""

WASHED = 0.65
"""Luma of the darkest pixels that scores THRESHOLD: 0.1% of the 5,100 photos have nothing darker; a photo of which haze
leaves a quarter of the contrast has nothing darker than 0.75."""


def measure(view: View) -> float:
    """Share of the photo, 0..1, in which at least two of the three channels are burnt out, white counted at WHITE.

    Two, since a red or blue thing in the sun has one channel at the top and still shows all its shades.
    """
    red, green, blue = view.planes
    second = np.maximum(np.minimum(red, green), np.minimum(np.maximum(red, green), blue))
    white = np.minimum(np.minimum(red, green), blue)
    burnt, all_burnt = int(np.count_nonzero(second >= TOP)), int(np.count_nonzero(white >= TOP))
    return (burnt - (1.0 - WHITE) * all_burnt) / len(red)


@check()
def overexposed(evidence: Evidence) -> Iterator[Issue]:
    """The worse of two scores.

    Burnt out: from 0 over 0.5 at BURNT to 1 at four times that. Washed out, which burns nothing but leaves
    nothing dark: by the luma that DARKEST of the pixels stay below, from 0 at black over 0.5 at WASHED to 1 at white.
    """
    burnt = evidence.looks["overexposed"].astype(np.float64)
    darkest = quantile(evidence.looks["histogram"], DARKEST)
    by_burning = np.interp(burnt, (0.0, BURNT, 4 * BURNT), (0.0, 0.5, 1.0))
    by_washing = np.interp(darkest, (0.0, WASHED, 1.0), (0.0, 0.5, 1.0))

    def message(number: int) -> str:
        if by_burning[number] >= by_washing[number]:
            return f"{burnt[number]:.0%} of it is burnt out (pure white, which may be meant, counted at a quarter)"
        return f"washed out: nothing but {DARKEST:.0%} of its pixels is darker than {darkest[number]:.0%} of white"

    return evidence.flag("overexposed", np.maximum(by_burning, by_washing), THRESHOLD, message)
