"""What a search for the learning rate found: loss against rate, as a drawing or as a page of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from featherlite.bundle import storage_guard, write_atomically
from featherlite.errors import RequestError
from featherlite.report.svg import Frame, Linear, Log, Svg, canvas, element, label, linear_ticks, log_ticks
from featherlite.report.templating import environment, template_text, version

__all__ = ["SUFFIXES", "rate_plot", "write_rate_curve"]

SUFFIXES = (".html", ".svg")
HEADROOM = 0.35
"""What lies above the first loss by more than this share of the fall is cut off: a diverging end flattens the rest."""


def rate_plot(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggested: float, width: float = 720
) -> Svg:
    """Loss against rate on a logarithmic scale: each step as a dot, the smoothed curve, and the suggested rate."""
    height = 340.0
    frame = Frame(52, 30, width - 14, height - 44)
    low, start = min(smooth), smooth[0]
    fall = max(start - low, 1e-3 * max(abs(start), 1e-9))
    y = Linear(low - 0.25 * fall, start + HEADROOM * fall, frame.bottom, frame.top)
    x = Log(min(rates), max(rates), frame.left, frame.right)
    parts: list[str] = []
    for tick in linear_ticks(y.low, y.high):
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 7, y(tick) + 4, f"{tick:g}", "end"))
    for tick in log_ticks(x.low, x.high, 8):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=frame.bottom, y2=frame.bottom + 5, class_="axis"))
        parts.append(label(x(tick), frame.bottom + 19, f"{tick:g}", "middle"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    middle = (frame.left + frame.right) / 2
    parts.append(label(middle, height - 6, "learning rate (logarithmic); up: the batch's loss", "middle", "axis-name"))
    dots = [
        element("circle", element("title", f"rate {rate:.2g}: loss {loss:.3g}"), cx=x(rate), cy=y(loss), r=2)
        for rate, loss in zip(rates, losses, strict=True)
        if math.isfinite(loss) and y.low <= loss <= y.high
    ]
    shown = [(x(rate), y(value)) for rate, value in zip(rates, smooth, strict=True) if value <= y.high]
    path = element("path", d="M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in shown))
    parts += [element("g", *dots, class_="curve train"), element("g", path, class_="curve val")]
    parts.append(element("line", x1=x(suggested), x2=x(suggested), y1=frame.top, y2=frame.bottom, class_="best"))
    parts.append(label(x(suggested), frame.top - 8, f"suggested: {suggested:.2g}", "middle", "name"))
    return canvas(width, height, f"Loss against learning rate; suggested is {suggested:.2g}", parts)


def write_rate_curve(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggested: float, out: Path
) -> Path:
    """The path of the written drawing (.svg) or page (.html).

    Raises:
        RequestError: `out` ends in something else.
        MissingExtraError: Jinja2 is not installed, which a page needs.
        StorageError: it cannot be written.
    """
    if out.suffix not in SUFFIXES:
        raise RequestError(f"{out.name} ends neither in .html nor in .svg.", "Name the file so.")
    plot, style = rate_plot(rates, losses, smooth, suggested), template_text("style.css")
    if out.suffix == ".svg":
        head, _, rest = plot.partition(">")
        text = f'{head} xmlns="http://www.w3.org/2000/svg"><style><![CDATA[{style}]]></style>{rest}'
    else:
        text = (
            environment("The page of a learning rate")
            .get_template("rate.html.j2")
            .render(title="Learning rate", style=style, version=version(), plot=plot, suggested=suggested)
        )
    with storage_guard(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text.encode("utf-8"))
    return out
