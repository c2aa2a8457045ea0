"""Which photo is in which split: the table that a bundle carries as splits.parquet."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, DataError, MissingExtraError

__all__ = ["SPLITS", "Splits", "no_training_photos", "pyarrow_modules", "read_splits", "write_splits"]

SPLITS = ("train", "val", "calibration", "test")
FILE = "splits.parquet"


@dataclass(frozen=True)
class Splits:
    """The columns of the table, one entry a photo, equally long."""

    path: tuple[str, ...]
    sha256: tuple[str, ...]
    label: tuple[str, ...]
    group: tuple[str | None, ...]
    split: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.path)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, str, str, str | None, str]]) -> Self:
        """The table of rows (path, sha256, label, group, split), sorted by path."""
        columns = tuple(zip(*sorted(rows, key=lambda row: row[0]), strict=True)) or ((),) * 5
        return cls(*columns)

    def rows(self) -> Iterable[tuple[str, str, str, str | None, str]]:
        """(path, sha256, label, group, split) of every photo."""
        return zip(self.path, self.sha256, self.label, self.group, self.split, strict=True)

    def of(self, split: str) -> Splits:
        """The rows of one split, in the order of the table; empty where it has none."""
        return Splits.from_rows(row for row in self.rows() if row[4] == split)

    @cached_property
    def hash(self) -> str:
        """sha256 in hex over the sorted (path, sha256, label, split): two tables that agree in it are the same test."""
        total = hashlib.sha256()
        for path, sha256, label, _, split in sorted(self.rows(), key=lambda row: (row[0], row[1], row[2], row[4])):
            total.update("\0".join((path, sha256, label, split)).encode() + b"\n")
        return total.hexdigest()

    def counts(self) -> dict[str, int]:
        """How many photos each split has; all four are named."""
        return {name: self.split.count(name) for name in SPLITS}


def no_training_photos(purpose: str) -> DataError:
    """The error that the train split is empty, to be raised by who has the `purpose`, as "to train on"."""
    return DataError(
        f"The train split has no photos {purpose}.",
        "Leave more to it: lower split.val, split.calibration or split.test.",
    )


def write_splits(splits: Splits) -> bytes:
    """The table as Parquet; the same table gives the same bytes.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow, parquet = pyarrow_modules()
    columns = {column.name: list(getattr(splits, column.name)) for column in fields(Splits)}
    schema = pyarrow.schema([(name, pyarrow.string()) for name in columns])
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_splits(bundle: Bundle) -> Splits:
    """The bundle's table.

    Raises:
        BundleError: the bundle has none, or it is damaged, or names an unknown split.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow, parquet = pyarrow_modules()
    content = bundle.read(FILE)
    try:
        table = parquet.read_table(io.BytesIO(content))
        columns = [tuple(table.column(column.name).to_pylist()) for column in fields(Splits)]
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise BundleError(f"{FILE} is damaged: {str(error).splitlines()[0]}.", "Run the split again.") from None
    splits = Splits(*columns)
    optional = set(splits.group) - {None}
    cells = {*splits.path, *splits.sha256, *splits.label, *optional}
    if not all(isinstance(cell, str) for cell in cells) or not set(splits.split) <= set(SPLITS):
        raise BundleError(f"{FILE} holds cells that are not text, or splits beside {', '.join(SPLITS)}.")
    return splits


def pyarrow_modules(what: str = "Reading and writing splits.parquet") -> tuple[Any, Any]:
    """Pyarrow and pyarrow.parquet.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("train", what) from None
    return pyarrow, pyarrow.parquet
