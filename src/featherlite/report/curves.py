"""Learning curves as inline SVG: lines over epochs, with the phases of training and the kept epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featherlite.report.svg import Frame, Linear, Svg, canvas, element, label, linear_ticks
from featherlite.report.units import percent_text

__all__ = ["Band", "Series", "curve_plot"]


@dataclass(frozen=True)
class Series:
    """One line of a learning curve; `kind` is its CSS class (train, val, rate)."""

    name: str
    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Band:
    """A stretch of epochs with a name: a phase of training."""

    name: str
    first: float
    last: float


def curve_plot(
    title: str,
    series: Sequence[Series],
    bands: Sequence[Band] = (),
    best: float | None = None,
    *,
    share: bool = False,
    width: float = 340,
    height: float = 236,
) -> Svg | None:
    """Lines over epochs with their phases shaded and the kept epoch marked; None where there is nothing to draw.

    With `share` the values are proportions, written as percent.
    """
    drawn = [line for line in (_finite(line) for line in series) if line.x]
    if not drawn:
        return None
    frame = Frame(48, 30, width - 12, height - 38)
    values = [value for line in drawn for value in line.y]
    epochs = [value for line in drawn for value in line.x]
    low, high = _value_range(values, share)
    first, last = min(epochs), max(epochs)
    x = Linear(first - 0.5, last + 0.5, frame.left, frame.right)
    y = Linear(low, high, frame.bottom, frame.top)
    parts: list[str] = _phases(bands, x, frame)
    for tick in linear_ticks(low, high, 6):
        text = f"{tick * 100:g}%" if share else f"{tick:g}"
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 6, y(tick) + 4, text, "end"))
    whole = [tick for tick in linear_ticks(first, last, 7) if float(tick).is_integer()]
    parts += [label(x(tick), frame.bottom + 16, f"{tick:g}", "middle") for tick in whole]
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    parts.append(label((frame.left + frame.right) / 2, height - 5, "epoch", "middle", "axis-name"))
    if best is not None and first <= best <= last:
        parts.append(element("line", x1=x(best), x2=x(best), y1=frame.top, y2=frame.bottom, class_="best"))
    parts += [_line(line, x, y, share) for line in drawn]
    ends = ", ".join(f"{line.name} ends at {_value(line.y[-1], share)}" for line in drawn)
    return canvas(width, height, f"{title} by epoch: {ends}", parts)


def _finite(line: Series) -> Series:
    kept = [(a, b) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)]
    return Series(line.name, line.kind, tuple(a for a, _ in kept), tuple(b for _, b in kept))


def _value_range(values: Sequence[float], share: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if share:
        return max(0.0, low - 0.05), min(1.0, high + 0.03) if high + 0.03 > low else 1.0
    low = 0.0 if low >= 0 else low
    return low, high * 1.06 if high > low else low + 1.0


def _value(value: float, share: bool) -> str:
    return percent_text(value) if share else f"{value:.3g}"


def _phases(bands: Sequence[Band], x: Linear, frame: Frame) -> list[str]:
    parts: list[str] = []
    for index, band in enumerate(bands):
        left, right = x(band.first - 0.5), x(band.last + 0.5)
        if index % 2 == 0:
            parts.append(
                element(
                    "rect", x=left, y=frame.top, width=right - left, height=frame.bottom - frame.top, class_="phase"
                )
            )
        if right - left > 6.4 * len(band.name) or index == len(bands) - 1:
            middle = min((left + right) / 2, frame.right - 3.2 * len(band.name))
            parts.append(label(middle, frame.top - 6, band.name, "middle", "phase-name"))
    return parts


def _line(line: Series, x: Linear, y: Linear, share: bool) -> Svg:
    at = [(x(epoch), y(value)) for epoch, value in zip(line.x, line.y, strict=True)]
    path = "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in at)
    dots = [
        element(
            "circle",
            element("title", f"epoch {epoch:g}, {line.name}: {_value(value, share)}"),
            cx=left,
            cy=top,
            r=2.4 if len(at) <= 40 else 1.4,
        )
        for (left, top), epoch, value in zip(at, line.x, line.y, strict=True)
    ]
    return element("g", element("path", d=path), *dots, class_=f"curve {line.kind}")
