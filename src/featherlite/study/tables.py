"""A comparison on the disk: as JSON, and its rows as CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from featherlite.bundle import write_atomically
from featherlite.comparison import FILE, Comparison, Row, flat

__all__ = ["write_comparison"]

TEXT = ("name", "model", "weights", "road", "seeds", "status", "error", "ships", "notes", "out")
TRUTH = ("tied", "efficient")
WHOLE = ("input_px", "folds", "n", "parameters", "macs")


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Writes comparison.json, comparison.csv and comparison.parquet into the folder, each whole or not at all.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OSError: the disk refuses.
    """
    document = json.dumps(comparison.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / FILE, document.encode() + b"\n")
    write_atomically(folder / "comparison.csv", _csv(comparison).encode("utf-8"))
    write_atomically(folder / "comparison.parquet", _parquet(comparison))


def _csv(comparison: Comparison) -> str:
    sink = io.StringIO(newline="")
    columns = list(flat(_blank()))
    table = csv.DictWriter(sink, columns, lineterminator="\n")
    table.writeheader()
    for row in comparison.rows:
        table.writerow({key: "" if cell is None else cell for key, cell in flat(row).items()})
    return sink.getvalue()


def _parquet(comparison: Comparison) -> bytes:
    from featherlite.data.splits import pyarrow_modules

    pyarrow, parquet = pyarrow_modules("Writing comparison.parquet")
    rows = [flat(row) for row in comparison.rows]
    schema = []
    for name in flat(_blank()):
        whole = name in WHOLE or "_bytes_" in name
        kind = pyarrow.string() if name in TEXT else pyarrow.bool_() if name in TRUTH else None
        schema.append((name, kind or (pyarrow.int64() if whole else pyarrow.float64())))
    columns = {name: [row[name] for row in rows] for name, _ in schema}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=pyarrow.schema(schema)), sink, compression="zstd")
    return sink.getvalue()


def _blank() -> Row:
    """A row whose cells name the columns."""
    return Row(name="", model="", weights="", road="", seeds=(), status="failed")
