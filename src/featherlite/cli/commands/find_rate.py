"""tries out learning rates on a network and its photos, and suggests one"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from featherlite.cli.arguments import CommandOptions, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import RequestError
from featherlite.step import MAX_SEED

PROG = "featherlite find-rate"
EVERY = 10


class RateOptions(CommandOptions):
    """What `featherlite find-rate` takes beside the settings of train."""

    bundle: Annotated[Path, Positional()]
    """a bundle with a network, or a run's folder"""
    data: Path | None = None
    """the photos, as for featherlite run; remembered from the bundle's making on this machine"""
    out: Path | None = None
    """where to draw the curve: a file that ends in .html or .svg"""
    steps: int = Field(120, ge=20, le=10_000)
    """steps from the lowest to the highest rate"""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """seed of everything random"""


def main(argv: list[str], terminal: Terminal) -> int:
    """Sweeps, draws, shows the suggested rate; returns the exit code."""
    from featherlite.training.config import FitConfig

    made = parser(PROG, "Try out learning rates on a network and its photos; the bundle is left as it is.")
    add_fields(made, RateOptions)
    add_fields(made, FitConfig)
    values = vars(made.parse_args(argv))
    options = parse(RateOptions, {key: values[key] for key in RateOptions.model_fields}, PROG)
    config = parse(FitConfig, {key: values[key] for key in FitConfig.model_fields}, PROG)
    if options.out is not None:
        from featherlite.report.rate_plot import SUFFIXES

        if options.out.suffix not in SUFFIXES:
            raise RequestError(f"--out {options.out}: the curve is drawn as {' or '.join(SUFFIXES)}.", "Name it so.")
    curve = _found(options, config, terminal)
    terminal.close()
    if options.out is not None:
        from featherlite.report.rate_plot import write_rate_curve

        write_rate_curve(curve.rates, curve.losses, curve.smooth, curve.suggested, options.out)
    _show(curve, terminal)
    terminal.show(f'Suggested peak rate: {curve.suggested:.2g} (train.rate; or rate = "auto")')
    if options.out is not None:
        terminal.show(f"Curve: {options.out}")
    terminal.finish(
        {
            "suggested": curve.suggested,
            "rates": list(curve.rates),
            "losses": list(curve.losses),
            "smooth": list(curve.smooth),
            "curve": None if options.out is None else str(options.out),
        }
    )
    return 0


def _found(options: RateOptions, config: Any, terminal: Terminal) -> Any:
    from featherlite.bundle import Bundle
    from featherlite.data.photos import load_photos
    from featherlite.keys import cache_folder
    from featherlite.run import resolve
    from featherlite.step import Context

    bundle = Bundle.open(options.bundle)
    lacking = [need for need in ("splits", "network", "preprocess") if need not in bundle.provides()]
    if lacking:
        raise RequestError(f"{options.bundle} has no {lacking[0]} to try rates with.", "Give a bundle after build.")
    remembered = bundle.local().get("data")
    root = options.data or (Path(remembered) if isinstance(remembered, str) else None)
    from featherlite.models.framework import start_keras

    start_keras("Trying out learning rates")
    from featherlite.models.network import load_network
    from featherlite.training.find_rate import find_rate

    progress = terminal.progress()
    with tempfile.TemporaryDirectory(prefix="featherlite-rate-") as work:
        data = None if root is None else resolve(root, cache_folder(), progress).absolute()
        context = Context(options.seed, Path(work), Path(work), cache_folder(), data, progress)
        photos = load_photos(bundle, "train", context)
        curve = find_rate(load_network(bundle), photos, config, context, steps=options.steps)
        if curve.doubt:
            context.warn(curve.doubt)
        return curve


def _show(curve: Any, terminal: Terminal) -> None:
    from rich.table import Table

    table = Table("rate", "loss", box=None, header_style="bold", pad_edge=False)
    for rate, loss in list(zip(curve.rates, curve.smooth, strict=True))[::EVERY]:
        table.add_row(f"{rate:.1e}", f"{loss:.3f}")
    terminal.show(table)
