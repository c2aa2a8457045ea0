"""Accuracy against cost as inline SVG: intervals, the Pareto front, names; and one row's interval on a shared scale.

The page's script draws the same picture for other axes; this one is what stands there without it, and on paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featherlite.report.comparison_view import Spread, Unit, front
from featherlite.report.svg import Frame, Linear, Log, Svg, canvas, element, label, linear_ticks, log_ticks
from featherlite.report.units import percent_text

__all__ = ["STEPS", "Dot", "interval_line", "pareto_plot", "share_range", "spread_out", "tick_text"]

STEPS: Mapping[Unit, Sequence[tuple[float, str]]] = {
    "bytes": ((1e9, " GB"), (1e6, " MB"), (1e3, " KB"), (1, " B")),
    "ms": ((1e3, " s"), (1, " ms")),
    "count": ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")),
    "seconds": ((3600, " h"), (60, " min"), (1, " s")),
    "mj": ((1e3, " J"), (1, " mJ")),
}
"""From what value on a unit's figures are written how, the largest first."""

SPREAD = 8.0
"""From what ratio of the largest to the smallest cost on the axis is logarithmic."""


@dataclass(frozen=True)
class Dot:
    """One network in the plot."""

    name: str
    cost: float
    score: Spread
    text: str
    """what is read where the pointer rests on it"""
    color: int = 0
    pretrained: bool = True
    recommended: bool = False


def tick_text(unit: Unit, value: float) -> str:
    """A round value as an axis says it: 5000000 bytes -> '5 MB'."""
    factor, suffix = next((step for step in STEPS[unit] if value >= step[0] * 0.999), STEPS[unit][-1])
    return f"{value / factor:.3g}{suffix}"


def spread_out(costs: Sequence[float]) -> bool:
    """Whether the costs lie so far apart that only a logarithmic axis shows them all."""
    return min(costs) > 0 and max(costs) / min(costs) >= SPREAD


def share_range(scores: Sequence[Spread]) -> tuple[float, float]:
    """The stretch of a score's scale that holds all intervals, with some air."""
    low, high = min(score.low for score in scores), max(score.high for score in scores)
    pad = max(0.01, (high - low) * 0.06)
    return max(0.0, low - pad), min(1.0, high + pad)


def pareto_plot(
    dots: Sequence[Dot],
    cost_name: str,
    unit: Unit,
    score_name: str = "top-1",
    width: float = 1100,
    height: float = 440,
) -> Svg:
    """The networks by cost (rightwards) and score (upwards), with 95% intervals and a line along the Pareto front."""
    frame = Frame(50, 12, width - 14, height - 46)
    low, high = share_range([dot.score for dot in dots])
    y = Linear(low, high, frame.bottom, frame.top)
    x = _cost_scale([dot.cost for dot in dots], frame)
    best = front([(dot.cost, dot.score.value) for dot in dots])
    marks = [
        element("g", *_mark(dot, x(dot.cost), y), class_=_classes(dot, index in best)) for index, dot in enumerate(dots)
    ]
    kind = " (logarithmic)" if isinstance(x, Log) else ""
    story = "; ".join(f"{dot.name}: {percent_text(dot.score.value)} at {tick_text(unit, dot.cost)}" for dot in dots)
    title = f"{score_name} against {cost_name}{kind}. On the Pareto front: {', '.join(dots[i].name for i in best)}."
    parts = [
        *_axes(frame, x, y, unit, f"{cost_name}{kind}", width, height),
        _front_line([dots[index] for index in best], x, y, frame),
        *marks,
        *_names(dots, set(best), x, y, frame),
    ]
    return canvas(width, height, f"{title} {story}", parts)


def interval_line(score: Spread, low: float, high: float, width: float = 150) -> Svg:
    """A score and its interval on the scale low..high, to stand in a table's cell."""
    x = Linear(low, high, 5, width - 5)
    return element(
        "svg",
        element("line", x1=0, x2=width, y1=9, y2=9, class_="track"),
        element("line", x1=x(score.low), x2=x(score.high), y1=9, y2=9, class_="reach"),
        *(element("line", x1=x(end), x2=x(end), y1=5, y2=13, class_="reach") for end in (score.low, score.high)),
        element("circle", cx=x(score.value), cy=9, r=4.2, class_="spot"),
        viewBox=f"0 0 {width:g} 18",
        width=width,
        height=18,
        aria_hidden="true",
        class_="line",
    )


def _cost_scale(costs: Sequence[float], frame: Frame) -> Linear | Log:
    """The axis of the costs: logarithmic where they lie far apart, else from zero."""
    start, end = frame.left + 10, frame.right - 10
    if not spread_out(costs):
        return Linear(0, max(costs) * 1.06 or 1.0, frame.left, end)
    pad = (max(costs) / min(costs)) ** 0.05
    return Log(min(costs) / pad, max(costs) * pad, start, end)


def _axes(frame: Frame, x: Linear | Log, y: Linear, unit: Unit, name: str, width: float, height: float) -> list[Svg]:
    parts = []
    for tick in linear_ticks(y.low, y.high, 8):
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 7, y(tick) + 4, f"{tick * 100:g}%", "end"))
    most = 9 if width > 500 else 4
    # Round numbers of minutes or hours, not of seconds.
    factor = next(step for step, _ in STEPS[unit] if x.high >= step * 3 or step == 1) if unit == "seconds" else 1
    ticks = (log_ticks if isinstance(x, Log) else linear_ticks)(x.low / factor, x.high / factor, most)
    for tick in [tick * factor for tick in ticks]:
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=frame.bottom, y2=frame.bottom + 5, class_="axis"))
        parts.append(label(x(tick), frame.bottom + 19, tick_text(unit, tick), "middle"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    return [*parts, label((frame.left + frame.right) / 2, height - 6, name, "middle", "axis-name")]


def _front_line(best: Sequence[Dot], x: Linear | Log, y: Linear, frame: Frame) -> Svg:
    """A staircase: what can be had at each cost."""
    path = f"M{x(best[0].cost):.2f} {frame.bottom:.2f}"
    for dot in best:
        path += f"H{x(dot.cost):.2f}V{y(dot.score.value):.2f}"
    return element("path", d=f"{path}H{frame.right:.2f}", class_="front")


def _classes(dot: Dot, best: bool) -> str:
    return f"dot c{dot.color}" + (" fore" if best else "") + (" chosen" if dot.recommended else "")


def _mark(dot: Dot, at: float, y: Linear) -> list[Svg]:
    middle = y(dot.score.value)
    ends = (y(dot.score.low), y(dot.score.high))
    ring = [element("circle", cx=at, cy=middle, r=11, class_="ring")] if dot.recommended else []
    return [
        element("title", dot.text),
        element("line", x1=at, x2=at, y1=ends[0], y2=ends[1], class_="whisker"),
        *(element("line", x1=at - 4, x2=at + 4, y1=end, y2=end, class_="whisker") for end in ends),
        *ring,
        _shape(dot.pretrained, at, middle),
    ]


def _shape(pretrained: bool, at: float, middle: float) -> Svg:
    if pretrained:
        return element("circle", cx=at, cy=middle, r=6, class_="marker")
    return element("path", d=f"M{at:.2f} {middle - 7.5:.2f}l7.5 7.5l-7.5 7.5l-7.5 -7.5z", class_="marker")


def _names(dots: Sequence[Dot], best: set[int], x: Linear | Log, y: Linear, frame: Frame) -> list[Svg]:
    """Each network's name where it meets nothing else that is drawn, those that matter most first."""
    taken = _along_front([dots[index] for index in sorted(best, key=lambda index: dots[index].cost)], x, y, frame)
    for dot in dots:
        at, middle = x(dot.cost), y(dot.score.value)
        taken.append(Frame(at - 9, middle - 9, at + 9, middle + 9))
        taken.append(Frame(at - 4, y(dot.score.high), at + 4, y(dot.score.low)))
    drawn = []
    for index in sorted(range(len(dots)), key=lambda index: (not dots[index].recommended, index not in best, index)):
        dot = dots[index]
        at, middle, long = x(dot.cost), y(dot.score.value), 7.2 * len(dot.name)
        for left, base, anchor in _spots(at, middle, y(dot.score.high), y(dot.score.low)):
            start = left - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
            box = Frame(start, base - 11, start + long, base + 3)
            inside = (
                box.left >= frame.left and box.right <= frame.right + 10 and box.top >= 0 and box.bottom < frame.bottom
            )
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                drawn.append(label(left, base, dot.name, anchor, "name chosen" if dot.recommended else "name"))
                break
    return drawn


def _along_front(best: Sequence[Dot], x: Linear | Log, y: Linear, frame: Frame) -> list[Frame]:
    """The staircase as narrow boxes, so that no name is struck through."""
    boxes = []
    for index, dot in enumerate(best):
        at, level = x(dot.cost), y(dot.score.value)
        below = y(best[index - 1].score.value) if index else frame.bottom
        until = x(best[index + 1].cost) if index + 1 < len(best) else frame.right
        boxes += [Frame(at - 1, level, at + 1, below), Frame(at, level - 1, until, level + 1)]
    return boxes


def _spots(at: float, middle: float, top: float, bottom: float) -> list[tuple[float, float, str]]:
    """Where a name may stand, the best place first: beside the marker, above or below the interval."""
    return [
        (at + 12, middle + 4, "start"),
        (at - 12, middle + 4, "end"),
        (at + 8, middle - 10, "start"),
        (at + 8, middle + 18, "start"),
        (at - 8, middle - 10, "end"),
        (at - 8, middle + 18, "end"),
        (at, top - 6, "middle"),
        (at, bottom + 14, "middle"),
        (at + 8, middle - 24, "start"),
        (at + 8, middle + 32, "start"),
        (at - 8, middle - 24, "end"),
        (at - 8, middle + 32, "end"),
    ]
