"""SVG as text that is safe by construction: elements, scales and ticks for the plots of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Frame", "Linear", "Log", "Svg", "canvas", "element", "label", "linear_ticks", "log_ticks", "number"]


class Svg(str):
    """Markup that is already escaped. Whatever else goes into an element is escaped there."""

    __slots__ = ()

    def __html__(self) -> str:
        """The markup itself: templates with autoescape leave it as it is."""
        return str(self)


def element(tag: str, *children: str, **attributes: str | float | None) -> Svg:
    """One element. Underscores in attribute names become hyphens, a trailing one is dropped; None leaves it out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(number(value) if not isinstance(value, str) else value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(child if isinstance(child, Svg) else escape(child) for child in children)
    return Svg(f"<{tag}{written}>{inner}</{tag}>" if inner else f"<{tag}{written}/>")


def label(x: float, y: float, content: str, anchor: str = "start", kind: str = "tick") -> Svg:
    """A text at (x, y), its class `kind`."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=kind)


def number(value: float) -> str:
    """A coordinate with at most two decimals: 12.500001 -> '12.5'."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def canvas(width: float, height: float, title: str, parts: Sequence[str]) -> Svg:
    """A drawing that scales with its column and is read out as its title."""
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        class_="plot",
    )


@dataclass(frozen=True)
class Frame:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Frame) -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


@dataclass(frozen=True)
class Linear:
    """Maps low..high evenly to start..end pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Log:
    """Maps low..high to start..end pixels so that equal factors are equally far apart."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a positive value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within low..high, at most `most`, in steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= most - 1 + 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within low..high, evenly strewn over its powers of ten: as many kinds of them as `most` allows."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in (range(1, 10), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]
