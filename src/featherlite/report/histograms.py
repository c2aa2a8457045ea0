"""How a figure is spread over many photos: a histogram as inline SVG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.report.svg import Frame, Linear, Log, Svg, canvas, element, label, linear_ticks, log_ticks

__all__ = ["histogram_plot"]

BINS = 30


def histogram_plot(
    values: NDArray[Any],
    title: str,
    tick: Callable[[float], str],
    *,
    limits: tuple[float, float] | None = None,
    logarithmic: bool = False,
    width: float = 340,
    height: float = 150,
) -> Svg:
    """Bars of how many values fall where; on a logarithmic scale equal factors are equally wide.

    `values` are finite and, on a logarithmic scale, positive; at least one. `tick` writes a value of the axis.
    """
    low, high = limits or (float(np.min(values)), float(np.max(values)))
    if not high > low:
        low, high = (low / 1.5, low * 1.5) if logarithmic else (low - 0.5, low + 0.5)
    edges = np.geomspace(low, high, BINS + 1) if logarithmic else np.linspace(low, high, BINS + 1)
    counts = np.histogram(np.clip(values, low, high), edges)[0]
    frame = Frame(8, 10, width - 8, height - 26)
    x: Linear | Log = (
        Log(low, high, frame.left, frame.right) if logarithmic else Linear(low, high, frame.left, frame.right)
    )
    y = Linear(0, float(counts.max()), frame.bottom, frame.top)
    parts: list[str] = []
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            at, end = x(left) + 0.6, x(right) - 0.6
            top = min(y(count), frame.bottom - 1.5)  # one photo among a million is still seen
            bar = element("rect", x=at, y=top, width=end - at, height=frame.bottom - top, rx=1.5, class_="bar")
            note = element("title", f"{tick(left)} to {tick(right)}: {count:,} photo{'' if count == 1 else 's'}")
            parts.append(element("g", note, bar))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    ticks = log_ticks(low, high, 6) if logarithmic else linear_ticks(low, high, 6)
    parts += [label(x(value), frame.bottom + 17, tick(value), "middle") for value in ticks]
    return canvas(width, height, title, parts)
