"""The plots of a page as inline SVG: accuracy against bytes, learning curves, an interval on its scale.

Colors are CSS classes, so that one drawing serves light, dark and print; every line also differs by its dashes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featherlite.history import Estimate
from featherlite.report.svg import Linear, Log, Svg, element, label, linear_ticks, log_ticks
from featherlite.report.units import bytes_text, percent_text

__all__ = ["Band", "Point", "Series", "curve_plot", "interval_strip", "ladder_plot"]


@dataclass(frozen=True)
class Point:
    """One rung of the ladder: what it is called, what it weighs and what it scores."""

    name: str
    bytes: int
    top1: Estimate


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


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def _canvas(width: float, height: float, title: str, parts: Sequence[str]) -> Svg:
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        class_="plot",
    )


# ---- the ladder --------------------------------------------------------------------------------------------------


def ladder_plot(points: Sequence[Point], width: float = 720, height: float = 340) -> Svg:
    """Accuracy (with intervals) against bytes on a logarithmic scale, step by step.

    Steps measured on the same split are joined; rungs of equal size are set side by side, so that none hides another.
    """
    frame = _Box(46, 14, width - 14, height - 44)
    low, high = _share_range(points)
    y = Linear(low, high, frame.bottom, frame.top)
    sizes = [point.bytes for point in points]
    margin = 1.45 if max(sizes) / min(sizes) < 30 else 1.9
    x = Log(min(sizes) / margin, max(sizes) * margin, frame.left, frame.right)
    parts: list[str] = []
    for tick in linear_ticks(low, high):
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 7, y(tick) + 4, f"{tick * 100:g}%", "end"))
    for tick in log_ticks(x.low, x.high, 7 if width > 500 else 4):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=frame.bottom, y2=frame.bottom + 5, class_="axis"))
        parts.append(label(x(tick), frame.bottom + 19, _tick_bytes(tick), "middle"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    parts.append(label((frame.left + frame.right) / 2, height - 6, "bytes (logarithmic)", "middle", "axis-name"))
    places = _side_by_side([x(size) for size in sizes])
    parts += _joins(points, places, y)
    parts += [_rung(point, at, y) for point, at in zip(points, places, strict=True)]
    parts += _names(points, places, y, frame)
    story = "; ".join(f"{point.name}: {percent_text(point.top1.value)} at {bytes_text(point.bytes)}" for point in points)
    return _canvas(width, height, f"Accuracy against bytes. {story}", parts)


def _share_range(points: Sequence[Point]) -> tuple[float, float]:
    low, high = min(point.top1.low for point in points), max(point.top1.high for point in points)
    pad = max(0.02, (high - low) * 0.12)
    return max(0.0, low - pad), min(1.0, high + pad)


def _tick_bytes(value: float) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= factor * 0.999:
            return f"{value / factor:g} {unit}"
    return f"{value:g} B"


def _side_by_side(places: Sequence[float], gap: float = 15.0) -> list[float]:
    """The same places, those closer than a marker moved apart around their mean; the order of equals is kept."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    groups: list[list[int]] = []
    for index in order:
        if groups and places[index] - places[groups[-1][-1]] < gap * 0.8:
            groups[-1].append(index)
        else:
            groups.append([index])
    for group in groups:
        center = sum(places[index] for index in group) / len(group)
        # Time runs against size on a ladder: within a group the later rung stands further left.
        for rank, index in enumerate(sorted(group, reverse=True)):
            moved[index] = center + (rank - (len(group) - 1) / 2) * gap
    return moved


def _joins(points: Sequence[Point], places: Sequence[float], y: Linear) -> list[Svg]:
    drawn = []
    for index in range(1, len(points)):
        same = points[index].top1.split == points[index - 1].top1.split
        drawn.append(
            element(
                "line",
                x1=places[index - 1],
                y1=y(points[index - 1].top1.value),
                x2=places[index],
                y2=y(points[index].top1.value),
                class_="join" if same else "join other",
            )
        )
    return drawn


def _rung(point: Point, at: float, y: Linear) -> Svg:
    top1, test = point.top1, point.top1.split == "test"
    middle = y(top1.value)
    hover = (
        f"{point.name}: {percent_text(top1.value)} ({percent_text(top1.low)} to {percent_text(top1.high)}) of "
        f"{top1.n:,} {top1.split or ''} photos, {point.bytes:,} bytes"
    )
    whisker = [
        element("line", x1=at, x2=at, y1=y(top1.low), y2=y(top1.high), class_="whisker"),
        *(element("line", x1=at - 4, x2=at + 4, y1=y(end), y2=y(end), class_="whisker") for end in (top1.low, top1.high)),
    ]
    marker = (
        element("path", d=f"M{at:.2f} {middle - 7:.2f}l7 7l-7 7l-7 -7z", class_="marker")
        if test
        else element("circle", cx=at, cy=middle, r=5.5, class_="marker")
    )
    return element("g", element("title", hover), *whisker, marker, class_="rung test" if test else "rung val")


def _names(points: Sequence[Point], places: Sequence[float], y: Linear, frame: _Box) -> list[Svg]:
    """Each rung's name where it meets no marker, no whisker and no other name; left out where there is no such place."""
    taken = [
        _Box(at - 8, y(point.top1.value) - 8, at + 8, y(point.top1.value) + 8)
        for point, at in zip(points, places, strict=True)
    ]
    taken += [
        _Box(at - 3, y(point.top1.high) - 1, at + 3, y(point.top1.low) + 1)
        for point, at in zip(points, places, strict=True)
    ]
    drawn = []
    for point, at in zip(points, places, strict=True):
        middle, long = y(point.top1.value), 7.3 * len(point.name)
        spots = [
            (at + 12, middle + 4, "start"),
            (at - 12, middle + 4, "end"),
            (at, y(point.top1.high) - 6, "middle"),
            (at, y(point.top1.low) + 15, "middle"),
            (at + 12, middle - 12, "start"),
            (at + 12, middle + 20, "start"),
            (at - 12, middle - 12, "end"),
            (at - 12, middle + 20, "end"),
            (at + 6, y(point.top1.high) - 20, "start"),
            (at - 6, y(point.top1.low) + 29, "end"),
        ]
        for left, base, anchor in spots:
            start = left - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
            box = _Box(start, base - 12, start + long, base + 4)
            inside = box.left >= frame.left and box.right <= frame.right + 12 and box.top >= 0 and box.bottom <= frame.bottom
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                drawn.append(label(left, base, point.name, anchor, "name"))
                break
    return drawn


# ---- learning curves ---------------------------------------------------------------------------------------------


def curve_plot(
    title: str,
    series: Sequence[Series],
    bands: Sequence[Band] = (),
    best: float | None = None,
    *,
    share: bool = False,
    width: float = 380,
    height: float = 250,
) -> Svg | None:
    """Lines over epochs with their phases shaded and the kept epoch marked; None where there is nothing to draw.

    With `share` the values are proportions, written as percent.
    """
    drawn = [line for line in (_finite(line) for line in series) if line.x]
    if not drawn:
        return None
    frame = _Box(48, 30, width - 12, height - 38)
    values = [value for line in drawn for value in line.y]
    epochs = [value for line in drawn for value in line.x]
    low, high = _value_range(values, share)
    first, last = min(epochs), max(epochs)
    x = Linear(first - 0.5, last + 0.5, frame.left, frame.right)
    y = Linear(low, high, frame.bottom, frame.top)
    parts: list[str] = _phases(bands, x, frame)
    for tick in linear_ticks(low, high, 5):
        text = f"{tick * 100:g}%" if share else f"{tick:g}"
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 6, y(tick) + 4, text, "end"))
    for tick in [tick for tick in linear_ticks(first, last, 7) if float(tick).is_integer()]:
        parts.append(label(x(tick), frame.bottom + 16, f"{tick:g}", "middle"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    parts.append(label((frame.left + frame.right) / 2, height - 5, "epoch", "middle", "axis-name"))
    if best is not None and first <= best <= last:
        parts.append(element("line", x1=x(best), x2=x(best), y1=frame.top, y2=frame.bottom, class_="best"))
    parts += [_line(line, x, y, share) for line in drawn]
    ends = ", ".join(f"{line.name} ends at {_value(line.y[-1], share)}" for line in drawn)
    return _canvas(width, height, f"{title} by epoch: {ends}", parts)


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


def _phases(bands: Sequence[Band], x: Linear, frame: _Box) -> list[str]:
    parts: list[str] = []
    for index, band in enumerate(bands):
        left, right = x(band.first - 0.5), x(band.last + 0.5)
        if index % 2 == 0:
            parts.append(
                element("rect", x=left, y=frame.top, width=right - left, height=frame.bottom - frame.top, class_="phase")
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


# ---- one interval ------------------------------------------------------------------------------------------------


def interval_strip(estimate: Estimate, chance: float | None = None, width: float = 300) -> Svg:
    """A score and its interval on a scale from 0 to 100%, with what guessing would reach."""
    x = Linear(0, 1, 8, width - 8)
    parts: list[str] = [
        element("rect", x=8, y=10, width=width - 16, height=8, rx=4, class_="strip"),
        element("rect", x=8, y=10, width=max(0.0, x(estimate.value) - 8), height=8, rx=4, class_="strip-full"),
        element("line", x1=x(estimate.low), x2=x(estimate.high), y1=14, y2=14, class_="strip-line"),
        *(element("line", x1=x(end), x2=x(end), y1=7, y2=21, class_="strip-line") for end in (estimate.low, estimate.high)),
    ]
    said = f"{percent_text(estimate.value)}, 95% interval {percent_text(estimate.low)} to {percent_text(estimate.high)}"
    if chance is not None:
        parts.append(element("line", x1=x(chance), x2=x(chance), y1=5, y2=23, class_="strip-chance"))
        anchor = "start" if chance < 0.35 else "middle"
        parts.append(label(x(chance) - (3 if anchor == "start" else 0), 36, f"guessing {percent_text(chance)}", anchor))
        said += f"; always guessing the commonest class: {percent_text(chance)}"
    return _canvas(width, 42, said, parts)
