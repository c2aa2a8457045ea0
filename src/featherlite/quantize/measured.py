"""The ranges of a network's quantization points, measured on photos by one of the methods in `quantize.ranges`."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.quantize.observed import Observed
from featherlite.quantize.points import ends, points, ties
from featherlite.quantize.ranges import method_of
from featherlite.quantize.scheme import Kernels, Scheme, spanning
from featherlite.step import Progress

__all__ = ["measured_scheme"]


def measured_scheme(
    network: keras.Model,
    photos: NDArray[np.uint8],
    method: str,
    settings: Mapping[str, float] | None = None,
    *,
    kernels: Kernels = "channel",
    progress: Progress | None = None,
) -> Scheme:
    """The scheme of a network as photos, uint8 [n, height, width, 3], show it. Points that are joined share a range.

    The logits keep their extremes whatever the method.

    Raises:
        RequestError: there is no such method.
    """
    choose = method_of(method)
    seen = Observed(network, points(network), photos, progress).seen
    # Of hundreds of logits one is large, that of the right class: a method would cut it as the rare outlier that it is.
    logits = ends(network)
    chosen = {
        name: (one.low, one.high) if name in logits else choose(one, **(settings or {})) for name, one in seen.items()
    }
    ranges = {name: spanning(*limits) for name, limits in chosen.items()}
    for group in ties(network):
        shared = (min(ranges[name][0] for name in group), max(ranges[name][1] for name in group))
        ranges |= dict.fromkeys(group, shared)
    return Scheme(activations=ranges, kernels=kernels, method=method)
