"""shows what quantization costs a network, layer by layer, and what to do about it"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from featherlite.cli.arguments import CommandOptions, Positional, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.errors import DataError, RequestError

if TYPE_CHECKING:
    from featherlite.bundle import Bundle
    from featherlite.data.photos import PhotoSet
    from featherlite.models.layer_errors import ErrorReport
    from featherlite.step import Progress

PROG = "featherlite quantization"
SHOWN = 10
LEAST = 0.01
SPARED = ("calibration", "val", "train")
"""Splits to look at, the first that has photos; never the test split, which is opened once."""


class QuantizationOptions(CommandOptions):
    """What `featherlite quantization` takes."""

    bundle: Annotated[Path, Positional()]
    """a bundle with a network and an export in integers, or a run's folder"""
    out: Path | None = None
    """where to write the page: a file that ends in .html"""
    export: Literal["int8", "int16x8"] = "int8"
    """which export to look into"""
    data: Path | None = None
    """the photos, as for featherlite run; remembered from the bundle's making on this machine"""
    photos: int = Field(32, ge=1, le=10_000)
    """photos to compare on, evenly from the split; what each layer does to the answers is found on 16 of them"""
    split: Literal["auto", "calibration", "val", "train"] = "auto"
    """which photos; auto takes calibration photos where there are any, else validation, else training photos"""


def main(argv: list[str], terminal: Terminal) -> int:
    """Compares, shows the layers that hurt most, writes the page; returns the exit code."""
    made = parser(PROG, "Show what quantization costs a network, layer by layer; the bundle is left as it is.")
    add_fields(made, QuantizationOptions)
    values = vars(made.parse_args(argv))
    options = parse(QuantizationOptions, {key: values[key] for key in QuantizationOptions.model_fields}, PROG)
    if options.out is not None and options.out.suffix != ".html":
        raise RequestError(f"--out {options.out}: the page is an .html file.", "Name it so.")
    report = _report(options, terminal)
    terminal.close()
    if options.out is not None:
        from featherlite.report.quantization_page import write_quantization

        write_quantization(report, options.out)
    _show(report, terminal)
    if options.out is not None:
        terminal.show(f"Page: {options.out}")
    document = report.model_dump(mode="json")
    terminal.finish(document | {"page": None if options.out is None else str(options.out)})
    return 0


def _report(options: QuantizationOptions, terminal: Terminal) -> ErrorReport:
    from featherlite.bundle import Bundle
    from featherlite.models.framework import start_keras

    bundle = Bundle.open(options.bundle)
    lacking = [need for need in ("splits", "network", "preprocess") if need not in bundle.provides()]
    if lacking:
        raise RequestError(f"{options.bundle} has no {lacking[0]}.", "Give a bundle after quantize.")
    if options.export not in bundle.exports:
        held = ", ".join(bundle.exports) or "none"
        raise RequestError(
            f"{options.bundle} has no export '{options.export}'; it has: {held}.",
            f"Make one: featherlite quantize {options.bundle} OUT --scheme {options.export}.",
        )
    start_keras("Looking into a quantized network")
    from featherlite.quantize.error_report import error_report

    progress = terminal.progress()
    return error_report(bundle, options.export, _photos(bundle, options, progress), progress)


def _photos(bundle: Bundle, options: QuantizationOptions, progress: Progress) -> PhotoSet:
    import numpy as np

    from featherlite.data.photos import PhotoSet, load_photos
    from featherlite.data.splits import read_splits
    from featherlite.keys import cache_folder
    from featherlite.run import resolve
    from featherlite.step import Context

    remembered = bundle.local().get("data")
    root = options.data or (Path(remembered) if isinstance(remembered, str) else None)
    counts = read_splits(bundle).counts()
    names = SPARED if options.split == "auto" else (options.split,)
    split = next((name for name in names if counts.get(name)), None)
    if split is None:
        raise DataError(f"There are no photos in {' or '.join(names)}.", "Choose another --split.")
    with tempfile.TemporaryDirectory(prefix="featherlite-quantization-") as work:
        data = None if root is None else resolve(root, cache_folder(), progress).absolute()
        found = load_photos(bundle, split, Context(0, Path(work), Path(work), cache_folder(), data, progress))
        chosen = np.unique(np.linspace(0, len(found) - 1, min(options.photos, len(found))).round().astype(np.int64))
        paths = tuple(found.paths[index] for index in chosen)
        return PhotoSet(np.asarray(found.images[chosen]), found.labels[chosen], paths, found.classes, split)


def _show(report: ErrorReport, terminal: Terminal) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def plain(value: Any) -> Text:
        return Text(str(value))  # names of layers are not markup

    table = Table(
        title="What hurts most", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("layer", overflow="fold")
    for name in ("dB", "own dB", "cut off", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what to do", overflow="fold")
    for one in report.worst(SHOWN):
        if one.harm >= LEAST:
            figures = (f"{one.snr_db:.1f}", f"{one.own_snr_db:.1f}", f"{one.clipped:.2%}", f"{one.harm:.1%}")
            table.add_row(*map(plain, (one.layer, *figures, one.remedy or "-")))
    if table.row_count:
        terminal.show(table)
    score = f"top-1 {report.top1_float:.1%} float, {report.top1_export:.1%} {report.export}"
    terminal.show(report.verdict, f"{report.photos} {report.split} photos: {score}.")
