"""The tables of an audit as a bundle carries them: issues.parquet and twins.parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featherlite.bundle import Bundle
from featherlite.data.findings import ACTIONS, Issue
from featherlite.data.near import Twins
from featherlite.data.source import Scan
from featherlite.data.splits import pyarrow_modules
from featherlite.errors import BundleError, RequestError

__all__ = ["ISSUES", "SUMMARY", "TWINS", "issues_table", "read_issues", "read_issues_file", "read_twins", "twins_table"]

ISSUES, TWINS, SUMMARY = "issues.parquet", "twins.parquet", "audit.json"
TWIN_COLUMNS = {"first": np.int64, "second": np.int64, "likeness": np.float32}
ISSUE_COLUMNS = ("check", "score", "message", "action", "to", "paths", "targets")
AGAIN = "Run the audit again."


def issues_table(issues: Sequence[Issue]) -> bytes:
    """The issues as Parquet: check, score, message, suggestion, action, to, and the lists paths and targets."""
    pyarrow, _ = pyarrow_modules("The audit's tables")
    text, many = pyarrow.string(), pyarrow.list_(pyarrow.string())
    kinds = {"check": text, "score": pyarrow.float64(), "message": text, "suggestion": text, "action": text, "to": text}
    schema = pyarrow.schema([*kinds.items(), ("paths", many), ("targets", many)])
    return _written(pyarrow.Table.from_pylist([issue.to_json() for issue in issues], schema=schema))


def read_issues(bundle: Bundle) -> tuple[Issue, ...]:
    """The issues that the bundle's audit found.

    Raises:
        BundleError: the bundle has no audit, or a damaged one.
    """
    return _issues(bundle.read(ISSUES))


def read_issues_file(file: Path) -> tuple[Issue, ...]:
    """The issues in a file that `featherlite audit` wrote.

    Raises:
        RequestError: it cannot be read.
        BundleError: it is damaged.
    """
    try:
        return _issues(file.read_bytes())
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}.", "Give the folder of an audit.") from None


def twins_table(twins: Twins) -> bytes:
    """The pairs as Parquet: first and second (numbers of photos, sorted by path), likeness."""
    pyarrow, _ = pyarrow_modules("The audit's tables")
    columns = zip(TWIN_COLUMNS, (twins.first, twins.second, twins.score), strict=True)
    return _written(pyarrow.table(dict(columns)))


def read_twins(bundle: Bundle, found: Scan) -> Twins | None:
    """The twins that the bundle's audit found among these very photos, or None where it saw other ones.

    Raises:
        BundleError: the table is damaged.
    """
    if TWINS not in bundle or bundle.read_json(SUMMARY).get("digest") != found.digest:
        return None
    rows = _rows(bundle.read(TWINS), TWINS, tuple(TWIN_COLUMNS))
    try:
        first, second, likeness = (np.array([row[name] for row in rows], kind) for name, kind in TWIN_COLUMNS.items())
    except (TypeError, ValueError) as error:
        raise BundleError(f"{TWINS} is damaged: {error}.", AGAIN) from None
    if rows and (first.min() < 0 or (first >= second).any() or second.max() >= len(found.photos)):
        raise BundleError(f"{TWINS} is damaged: a photo's number is out of range.", AGAIN)
    return Twins(first, second, likeness)


def _issues(content: bytes) -> tuple[Issue, ...]:
    issues = []
    for row in _rows(content, ISSUES, ISSUE_COLUMNS):
        if row["action"] not in ACTIONS:
            raise BundleError(f"{ISSUES} asks for '{row['action']}', which is unknown.", AGAIN)
        try:
            wanted = (row["message"], row["action"], tuple(row["targets"]), row["to"])
            issues.append(Issue(row["check"], tuple(row["paths"]), float(row["score"]), *wanted))
        except (TypeError, ValueError) as error:
            raise BundleError(f"{ISSUES} is damaged: {error}.", AGAIN) from None
    return tuple(issues)


def _written(table: Any) -> bytes:
    _, parquet = pyarrow_modules("The audit's tables")
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _rows(content: bytes, name: str, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
    pyarrow, parquet = pyarrow_modules("The audit's tables")
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        raise BundleError(f"{name} is damaged: {str(error).splitlines()[0]}.", AGAIN) from None
    if not set(wanted) <= set(table.column_names):
        raise BundleError(f"{name} lacks columns; needed are {', '.join(wanted)}.", AGAIN)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
