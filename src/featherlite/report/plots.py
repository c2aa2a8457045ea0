"""The ladder as inline SVG (accuracy against bytes), and a score with its interval on a scale.

Colors are CSS classes, so that one drawing serves light, dark and print; every kind of mark also differs in shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featherlite.history import Estimate
from featherlite.report.svg import Frame, Linear, Log, Svg, canvas, element, label, linear_ticks, log_ticks
from featherlite.report.units import bytes_text, percent_text

__all__ = ["Point", "interval_strip", "ladder_plot"]


@dataclass(frozen=True)
class Point:
    """One rung of the ladder: what it is called, what it weighs, what it scores, and on how many classes."""

    name: str
    bytes: int
    top1: Estimate
    classes: int = 0


# ---- the ladder --------------------------------------------------------------------------------------------------


def ladder_plot(points: Sequence[Point], width: float = 720, height: float = 340) -> Svg:
    """Accuracy (with intervals) against bytes on a logarithmic scale, step by step.

    A step is joined to the one before it, by another line where they were scored on other photos; rungs of equal size
    are set side by side, so that none hides another.
    """
    frame = Frame(46, 14, width - 14, height - 44)
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
    places = _side_by_side([x(size) for size in sizes], frame)
    parts += _joins(points, places, y)
    parts += [_rung(point, at, y) for point, at in zip(points, places, strict=True)]
    parts += _names(points, places, y, frame)
    story = "; ".join(
        f"{point.name}: {percent_text(point.top1.value)} at {bytes_text(point.bytes)}" for point in points
    )
    return canvas(width, height, f"Accuracy against bytes. {story}", parts)


def _share_range(points: Sequence[Point]) -> tuple[float, float]:
    low, high = min(point.top1.low for point in points), max(point.top1.high for point in points)
    pad = max(0.02, (high - low) * 0.12)
    return max(0.0, low - pad), min(1.0, high + pad)


def _tick_bytes(value: float) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= factor * 0.999:
            return f"{value / factor:g} {unit}"
    return f"{value:g} B"


def _side_by_side(places: Sequence[float], frame: Frame, gap: float = 15.0) -> list[float]:
    """The same places, those closer than a marker moved apart around their mean; the order of equals is kept.

    More than fit into the frame side by side stand as close as they have to.
    """
    room = frame.right - frame.left - 16
    moved = list(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    groups: list[list[int]] = []
    for index in order:
        if groups and places[index] - places[groups[-1][-1]] < gap * 0.8:
            groups[-1].append(index)
        else:
            groups.append([index])
    for group in groups:
        apart = min(gap, room / max(1, len(group) - 1))
        half = (len(group) - 1) / 2 * apart
        center = sum(places[index] for index in group) / len(group)
        center = max(frame.left + 8 + half, min(frame.right - 8 - half, center))
        # Time runs against size on a ladder: within a group the later rung stands further left.
        for rank, index in enumerate(sorted(group, reverse=True)):
            moved[index] = center + (rank - (len(group) - 1) / 2) * apart
    return moved


def _joins(points: Sequence[Point], places: Sequence[float], y: Linear) -> list[Svg]:
    drawn = []
    for index in range(1, len(points)):
        same = points[index].top1.photos == points[index - 1].top1.photos
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
        *(
            element("line", x1=at - 4, x2=at + 4, y1=y(end), y2=y(end), class_="whisker")
            for end in (top1.low, top1.high)
        ),
    ]
    marker = (
        element("path", d=f"M{at:.2f} {middle - 7:.2f}l7 7l-7 7l-7 -7z", class_="marker")
        if test
        else element("circle", cx=at, cy=middle, r=5.5, class_="marker")
    )
    return element("g", element("title", hover), *whisker, marker, class_="rung test" if test else "rung val")


def _names(points: Sequence[Point], places: Sequence[float], y: Linear, frame: Frame) -> list[Svg]:
    """Each rung's name where it meets nothing else that is drawn; left out where there is no such place."""
    taken = [
        Frame(at - 8, y(point.top1.value) - 8, at + 8, y(point.top1.value) + 8)
        for point, at in zip(points, places, strict=True)
    ]
    taken += [
        Frame(at - 3, y(point.top1.high) - 1, at + 3, y(point.top1.low) + 1)
        for point, at in zip(points, places, strict=True)
    ]
    taken += _along_joins(points, places, y)
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
            box = Frame(start, base - 12, start + long, base + 4)
            inside = (
                box.left >= frame.left and box.right <= frame.right + 12 and box.top >= 0 and box.bottom <= frame.bottom
            )
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                drawn.append(label(left, base, point.name, anchor, "name"))
                break
    return drawn


def _along_joins(points: Sequence[Point], places: Sequence[float], y: Linear) -> list[Frame]:
    """Small boxes along the joining lines, so that no name is struck through."""
    boxes = []
    for index in range(1, len(points)):
        left, right = places[index - 1], places[index]
        top, bottom = y(points[index - 1].top1.value), y(points[index].top1.value)
        pieces = max(2, math.ceil(max(abs(right - left), abs(bottom - top)) / 6))
        for piece in range(pieces + 1):
            at, level = left + (right - left) * piece / pieces, top + (bottom - top) * piece / pieces
            boxes.append(Frame(at - 1, level - 1, at + 1, level + 1))
    return boxes


# ---- one interval ------------------------------------------------------------------------------------------------


def interval_strip(estimate: Estimate, chance: float | None = None, width: float = 300) -> Svg:
    """A score and its interval on a scale from 0 to 100%, with what guessing would reach."""
    x = Linear(0, 1, 8, width - 8)
    parts: list[str] = [
        element("rect", x=8, y=10, width=width - 16, height=8, rx=4, class_="strip"),
        element("rect", x=8, y=10, width=max(0.0, x(estimate.value) - 8), height=8, rx=4, class_="strip-full"),
        element("line", x1=x(estimate.low), x2=x(estimate.high), y1=14, y2=14, class_="strip-line"),
        *(
            element("line", x1=x(end), x2=x(end), y1=7, y2=21, class_="strip-line")
            for end in (estimate.low, estimate.high)
        ),
    ]
    said = f"{percent_text(estimate.value)}, 95% interval {percent_text(estimate.low)} to {percent_text(estimate.high)}"
    if chance is not None:
        parts.append(element("line", x1=x(chance), x2=x(chance), y1=5, y2=23, class_="strip-chance"))
        anchor = "start" if chance < 0.35 else "middle"
        parts.append(label(x(chance) - (3 if anchor == "start" else 0), 36, f"guessing {percent_text(chance)}", anchor))
        said += f"; always guessing the commonest class: {percent_text(chance)}"
    return canvas(width, 42, said, parts)
