"""Noise along a quantized network, as inline SVG: the ratio at each layer, and each layer's share in what is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featherlite.models.layer_errors import LayerError
from featherlite.report.svg import Frame, Linear, Svg, canvas, element, label, linear_ticks
from featherlite.report.units import percent_text

__all__ = ["noise_plot"]

TOP_DB = 60.0
"""Ratios above this are all the same to an eye: they are drawn at the edge."""


def noise_plot(layers: Sequence[LayerError], ranks: Mapping[str, int], width: float = 960, height: float = 380) -> Svg:
    """Layers from left to right in the order of execution: above, dB of signal to noise; below, shares of the harm.

    The layers in `ranks` carry their number above their bar.
    """
    above = Frame(46, 16, width - 12, height * 0.55)
    below = Frame(46, height * 0.55 + 42, width - 12, height - 40)
    x = Linear(-0.5, max(len(layers) - 0.5, 0.5), above.left, above.right)
    parts = [*_ratios(layers, x, above), *_shares(layers, ranks, x, below)]
    last = len(layers)
    numbers = [tick for tick in linear_ticks(1, max(last, 2), 10 if width > 500 else 5) if tick in range(1, last + 1)]
    parts += [label(x(tick - 1), below.bottom + 16, f"{tick:g}", "middle") for tick in numbers]
    center = (above.left + above.right) / 2
    parts.append(label(center, height - 6, "layer, in the order of execution", "middle", "axis-name"))
    story = "; ".join(f"{one.layer}: {one.snr_db:.0f} dB, {percent_text(one.harm)} of the noise" for one in layers)
    return canvas(width, height, f"Signal to noise and harm by layer. {story}", parts)


def _ratios(layers: Sequence[LayerError], x: Linear, frame: Frame) -> list[Svg]:
    shown = [min(max(value, -TOP_DB), TOP_DB) for one in layers for value in (one.snr_db, one.own_snr_db)]
    low, high = min([*shown, 20.0]) - 3, max([*shown, 30.0]) + 3
    y = Linear(low, high, frame.bottom, frame.top)
    parts: list[Svg] = []
    for tick in linear_ticks(low, high, 6):
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 7, y(tick) + 4, f"{tick:g}", "end"))
    parts.append(label(4, frame.top - 5, "dB", "start", "axis-name"))
    for kind, key in (("train", "own_snr_db"), ("val", "snr_db")):
        values = [min(max(float(getattr(one, key)), -TOP_DB), TOP_DB) for one in layers]
        line = "L".join(f"{x(place):.1f} {y(value):.1f}" for place, value in enumerate(values))
        dots = [
            element("circle", element("title", _said(one)), cx=x(place), cy=y(value), r=2.4)
            for place, (one, value) in enumerate(zip(layers, values, strict=True))
        ]
        parts.append(element("g", element("path", d=f"M{line}"), *dots, class_=f"curve {kind}"))
    return parts


def _shares(layers: Sequence[LayerError], ranks: Mapping[str, int], x: Linear, frame: Frame) -> list[Svg]:
    top = max(max((one.harm for one in layers), default=0.0), 0.01)
    y = Linear(0, top * 1.25, frame.bottom, frame.top)
    parts: list[Svg] = []
    for tick in linear_ticks(0, top * 1.25, 4):
        parts.append(element("line", x1=frame.left, x2=frame.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(frame.left - 7, y(tick) + 4, f"{tick * 100:g}%", "end"))
    thick = max(2.0, min(22.0, (x(1) - x(0)) * 0.7))
    for place, one in enumerate(layers):
        bar = element(
            "rect",
            element("title", _said(one)),
            x=x(place) - thick / 2,
            y=y(one.harm),
            width=thick,
            height=max(0.6, frame.bottom - y(one.harm)),
            class_="harm worst" if one.layer in ranks else "harm",
        )
        parts.append(bar)
        if one.layer in ranks:
            parts.append(label(x(place), y(one.harm) - 4, str(ranks[one.layer]), "middle", "name"))
    parts.append(element("line", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom, class_="axis"))
    return parts


def _said(one: LayerError) -> str:
    return (
        f"{one.layer} ({one.kind}): {one.snr_db:.1f} dB here, {one.own_snr_db:.1f} dB of its own; "
        f"{percent_text(one.harm)} of the logits' noise; {percent_text(one.clipped, 2)} of its values cut off"
    )
