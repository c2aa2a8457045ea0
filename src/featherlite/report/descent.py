"""A chain of steps at one glance, as inline SVG: accuracy held while bytes, arena and MACs fall, a line a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from featherlite.history import Estimate
from featherlite.report.ladder import Row
from featherlite.report.svg import Frame, Linear, Svg, canvas, element, label, linear_ticks
from featherlite.report.units import bytes_text, count_text, percent_text

__all__ = ["LEAST", "Rung", "descent_plot", "rungs_of"]

LEAST: Final = 3
"""Different weights that a ladder has at least, for its descent to be worth a drawing."""

COLUMNS: Final = ("top-1", "size", "arena", "MACs")

PITCH: Final = 23
"""Pixels from one step's line to the next."""

HEAD: Final = 40
SIGN: Final = 7.4
"""Pixels that a letter of a step's name takes, at most but for the widest letters."""


@dataclass(frozen=True)
class Rung:
    """One step: its name, what the model scored behind it and weighed; `measured` tells an arena from an estimate."""

    name: str
    top1: Estimate | None
    bytes: int
    arena: int | None
    measured: bool
    macs: int
    classes: int = 0

    @property
    def learned(self) -> bool:
        """Whether it scores better than guessing, which would press all the differences that matter into one line."""
        return self.top1 is not None and self.top1.beats_guessing(self.classes)


def rungs_of(rows: Sequence[Row], name: Callable[[Row], str]) -> list[Rung]:
    """The steps that left a model, without those that only measured one; empty where its weight hardly changed."""
    rungs = []
    for row in rows:
        if row["bytes"] and row["macs"] and not row["measures_only"]:
            arena = row.get("arena_bytes")
            estimate = arena if arena is not None else row.get("activation_bytes")
            top1 = Estimate.model_validate(row["top1"]) if row["top1"] else None
            classes = row["classes"] or 0
            rungs.append(Rung(name(row), top1, row["bytes"], estimate, arena is not None, row["macs"], classes))
    return rungs if len({(rung.bytes, rung.macs) for rung in rungs}) >= LEAST else []


def descent_plot(rungs: Sequence[Rung], width: float = 960, show: Sequence[str] = COLUMNS) -> Svg:
    """Steps from top to bottom: name, then the columns in `show`: top-1 with its interval, and a bar for each weight.

    Scores on the same photos are joined. A bar is bright where the step changed it, hollow where the arena is an
    estimate.
    """
    names = min((0.24 if width > 500 else 0.38) * width, max(len(rung.name) for rung in rungs) * SIGN + 8)
    height = HEAD + PITCH * len(rungs) + 10
    top, bottom = HEAD - 8, height - 8
    spans = _columns(names + 8, width, [1.25 if title == "top-1" else 1.0 for title in show])
    parts = [
        label(0, _middle(place) + 4, _shortened(rung.name, names), "start", "name") for place, rung in enumerate(rungs)
    ]
    weights: dict[str, tuple[list[int | None], Callable[[int], str]]] = {
        "size": ([rung.bytes for rung in rungs], bytes_text),
        "arena": ([rung.arena for rung in rungs], bytes_text),
        "MACs": ([rung.macs for rung in rungs], count_text),
    }
    for title, (left, right) in zip(show, spans, strict=True):
        frame = Frame(left, top, right, bottom)
        if title in weights:
            hollow = [title == "arena" and not rung.measured for rung in rungs]
            parts += _bars(title, *weights[title], hollow, frame)
        else:
            parts += _scores(rungs, frame)
    first, last = rungs[0], rungs[-1]
    story = (
        f"{len(rungs)} steps from {bytes_text(first.bytes)} and {count_text(first.macs)} MACs "
        f"to {bytes_text(last.bytes)} and {count_text(last.macs)} MACs"
    )
    return canvas(width, height, f"The descent, step by step: {story}.", parts)


def _columns(left: float, right: float, shares: Sequence[float]) -> list[tuple[float, float]]:
    gap = 18.0
    room = (right - left - gap * (len(shares) - 1)) / sum(shares)
    found, start = [], left
    for share in shares:
        found.append((start, start + room * share))
        start += room * share + gap
    return found


def _middle(place: int) -> float:
    return HEAD + PITCH * (place + 0.5)


def _shortened(name: str, room: float) -> str:
    most = max(6, int(room / SIGN))
    return name if len(name) <= most else name[: most - 1] + "…"


def _scores(rungs: Sequence[Rung], frame: Frame) -> list[Svg]:
    """Top-1 of each step on one scale, and its value at the right."""
    parts = [label(frame.left, frame.top - 14, "top-1", "start", "axis-name")]
    known = [rung.top1 for rung in rungs if rung.top1 is not None and rung.learned]
    if not known:
        return parts
    low, high = min(one.low for one in known), max(one.high for one in known)
    pad = max(0.01, (high - low) * 0.05)
    x = Linear(max(0.0, low - pad), min(1.0, high + pad), frame.left + 4, frame.right - 44)
    for tick in linear_ticks(x.low, x.high, 5 if frame.right - frame.left > 150 else 3):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=frame.top, y2=frame.bottom, class_="grid"))
        parts.append(label(x(tick), frame.top - 1, f"{tick * 100:g}%", "middle"))
    former: dict[tuple[str | None, int], tuple[float, float]] = {}
    dots = []
    for place, rung in enumerate(rungs):
        if rung.top1 is None:
            continue
        middle, photos = _middle(place), rung.top1.photos
        dots.append(label(frame.right, middle + 4, percent_text(rung.top1.value), "end", "value"))
        if not rung.learned:
            continue
        at = x(rung.top1.value)
        if photos in former:
            parts.append(element("line", x1=former[photos][0], y1=former[photos][1], x2=at, y2=middle, class_="join"))
        former[photos] = (at, middle)
        dots.append(_score(rung.name, rung.top1, at, middle, x))
    return [*parts, *dots]


def _score(name: str, top1: Estimate, at: float, middle: float, x: Linear) -> Svg:
    test = top1.split == "test"
    marker = (
        element("path", d=f"M{at:.2f} {middle - 6:.2f}l6 6l-6 6l-6 -6z", class_="marker")
        if test
        else element("circle", cx=at, cy=middle, r=4.5, class_="marker")
    )
    said = f"{name}: {percent_text(top1.value)} of {top1.n:,} {top1.split or ''} photos"
    whisker = element("line", x1=x(top1.low), x2=x(top1.high), y1=middle, y2=middle, class_="whisker")
    return element("g", element("title", said), whisker, marker, class_="test" if test else "val")


def _bars(
    title: str, values: Sequence[int | None], told: Callable[[int], str], hollow: Sequence[bool], frame: Frame
) -> list[Svg]:
    """A bar for each value from the left, on a scale from zero, with the value behind it."""
    parts = [label(frame.left, frame.top - 14, title, "start", "axis-name")]
    most = max((value for value in values if value is not None), default=0)
    if not most:
        return parts
    x = Linear(0, most, 0, frame.right - frame.left - 62)
    former: int | None = None
    for place, value in enumerate(values):
        if value is None:
            continue
        middle = _middle(place)
        kind = "bar" if value == former else "bar changed"
        bar = element(
            "rect",
            x=frame.left,
            y=middle - 7,
            width=max(1.5, x(value)),
            height=14,
            rx=2,
            class_=f"{kind} hollow" if hollow[place] else kind,
        )
        text = f"~{told(value)}" if hollow[place] else told(value)
        # What a step left as it was is said in a softer voice: the eye finds the steps that count.
        parts += [
            bar,
            label(frame.left + x(value) + 6, middle + 4, text, "start", "tick" if value == former else "value"),
        ]
        former = value
    return parts
