"""The page of a quantized network's errors: what is lost, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from featherlite.bundle import storage_guard, write_atomically
from featherlite.models.layer_errors import ErrorReport, LayerError
from featherlite.report.quantization_plot import noise_plot
from featherlite.report.templating import environment, template_text, version

__all__ = ["WORST", "render_quantization", "write_quantization"]

WORST = 8
"""Layers that are listed as the worst, at most."""

LEAST = 0.01
"""A layer with a smaller share in the noise is not among the worst."""


def write_quantization(report: ErrorReport, out: Path) -> Path:
    """The path of the written page.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        StorageError: it cannot be written.
    """
    text = render_quantization(report)
    with storage_guard(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text.encode("utf-8"))
    return out


def render_quantization(report: ErrorReport) -> str:
    """The page as HTML; the names of layers are escaped."""
    worst = [one for one in report.worst(WORST) if one.harm >= LEAST]
    ranks = {one.layer: number for number, one in enumerate(worst, start=1)}
    return (
        environment("The page of quantization errors")
        .get_template("quantization.html.j2")
        .render(
            title=f"Quantization: {report.export}",
            style=template_text("style.css"),
            version=version(),
            report=report,
            worst=[(ranks[one.layer], one, causes(one)) for one in worst],
            ranks=ranks,
            wide=noise_plot(report.layers, ranks),
            narrow=noise_plot(report.layers, ranks, 340, 340),
        )
    )


def causes(error: LayerError) -> str:
    """What a layer's own noise is made of, the largest part first; parts below a tenth are left out."""
    named = (
        (error.rounding, "storing in steps"),
        (error.clipping, "cut off"),
        (error.kernel, "rounded weights"),
    )
    return ", ".join(f"{share:.0%} {name}" for share, name in sorted(named, reverse=True) if share >= 0.1)
