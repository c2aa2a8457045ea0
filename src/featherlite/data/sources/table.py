"""The photos of a table, CSV or Parquet, with the columns path, label and, if wanted, split and group.

Paths are relative to the table's folder, or absolute; they may lead into containers. The user has named each file, so
links are followed; what a URL names is not fetched. A table may have millions of rows: it is read twice, first for the
rows that repeat a path, so that no more than the candidates themselves is held.
"""

from __future__ import annotations

import csv
import os
import re
import stat
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featherlite.data.containers import split_virtual
from featherlite.data.listing import LAYOUT_HINT, SPLIT_WORDS, Candidate, Listing, class_label, split_word
from featherlite.errors import DataError, did_you_mean

__all__ = ["PRIORITY", "listing", "recognizes"]

PRIORITY = 30
COLUMNS = ("path", "label", "split", "group")
BATCH = 65_536
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")
UNTIDY = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")
"""Paths with empty, '.' or '..' parts, or absolute: those have to be brought into one form."""

Row = tuple[int, str, str, str, str]
"""(row number, path, label, split, group); empty where the table says nothing."""


def recognizes(root: Path) -> bool:
    """Whether `root` is a file with the ending of a table."""
    return root.is_file() and root.suffix.casefold() in (".csv", ".tsv", ".parquet")


def listing(root: Path) -> Listing:
    """The candidates and faults of a table.

    Raises:
        DataError: not UTF-8, not a table, a needed column is missing, or a split has an unknown name.
    """
    parquet = root.suffix.casefold() == ".parquet"
    found = Listing(root, "table" if parquet else "csv")
    base = os.path.realpath(root.parent)
    rows = _parquet_rows if parquet else _csv_rows
    repeats = _Repeats(_path(base, given) for _, given, _, _, _ in rows(root) if given)
    words: dict[str, str | None] = {}
    labels: dict[str, str] = {}
    groups: dict[str, str] = {}
    count = 0
    for number, given, label, word, group in rows(root):
        count += 1
        if not given or not label:
            what = "path" if not given else "label"
            found.fault(given or f"row {number}", "incomplete", f"row {number} has no {what}")
            continue
        path = _path(base, given)
        first, meant = repeats.first(path, number, label)
        if first != number:
            reason = "repeated" if label == meant else "two-labels"
            found.fault(path, reason, f"row {number} names it again (label '{label}'); row {first} counts ('{meant}')")
            continue
        if word not in words:
            words[word] = _split(word, root, number)
        if label not in labels:
            labels[label] = class_label(label, given)
        shared = groups.setdefault(group, group) if group else None
        _add(found, Candidate(path, labels[label], base, words[word], shared))
    if not count:
        raise DataError(f"{root} has no rows.", LAYOUT_HINT)
    return found


class _Repeats:
    """Which paths stand in more than one row: found by 8 bytes a row, then told exactly."""

    def __init__(self, paths: Iterator[str]) -> None:
        hashes = np.frombuffer(array("q", map(hash, paths)), np.int64)
        ordered = np.sort(hashes)
        self._hashes = frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        self._firsts: dict[str, tuple[int, str]] = {}

    def first(self, path: str, number: int, label: str) -> tuple[int, str]:
        """Number and label of the first row that has this path, given that rows are asked about in order."""
        here = number, label
        return self._firsts.setdefault(path, here) if hash(path) in self._hashes else here


def _path(base: str, given: str) -> str:
    """The photo's name for good: relative to the table, unless it was given as absolute and lies elsewhere."""
    if URL.match(given) or not UNTIDY.search(given):
        return given
    file = os.path.normpath(os.path.join(base, given))  # noqa: PTH118
    inside = file.startswith(base + os.sep)
    return file if os.path.isabs(given) and not inside else os.path.relpath(file, base)  # noqa: PTH117


def _add(found: Listing, candidate: Candidate) -> None:
    if URL.match(candidate.path):
        found.fault(
            candidate.path, "url", "an address in place of a file: nothing is fetched; download it, and name the file"
        )
        return
    try:
        regular = stat.S_ISREG(os.stat(candidate.file).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        inside = split_virtual(candidate.base, candidate.path)
        if inside is None:
            found.fault(candidate.path, "missing", "no such file")
        else:
            told = (candidate.path, candidate.label, candidate.base, candidate.split, candidate.group)
            found.candidates.append(Candidate(*told, inside[0]))
    except (OSError, ValueError) as error:
        found.fault(candidate.path, "unreadable", f"cannot be read ({error})")
    else:
        if regular:
            found.candidates.append(candidate)
        else:
            found.fault(candidate.path, "not-a-file", "not a file")


def _csv_rows(table: Path) -> Iterator[Row]:
    """The rows of a CSV; columns in any case and order; comma, semicolon or tab between them."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline(2**16)
            stream.seek(0)
            delimiter = max(",;\t", key=head.count)
            reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
            names = [name.strip().casefold() for name in next(reader, [])]
            _refuse_lacking(table, names)
            path, label, split, group = (names.index(name) if name in names else -1 for name in COLUMNS)
            for values in reader:
                if values:
                    values += [""] * max(len(names) + 1 - len(values), 1)  # the last one stands for columns not there
                    yield reader.line_num, values[path], values[label], values[split], values[group]
    except UnicodeDecodeError:
        raise DataError(f"{table} is not UTF-8 text.", "Save it as CSV UTF-8.") from None
    except csv.Error as error:
        raise DataError(f"{table} is not a CSV that can be read: {error}.", LAYOUT_HINT) from None
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}.", "Check its permissions.") from None


def _parquet_rows(table: Path) -> Iterator[Row]:
    """The rows of a Parquet table; numbers as text, nothing where a value is null."""
    from featherlite.data.parquet import open_parquet, parquet_errors

    try:
        with table.open("rb") as stream:
            opened = open_parquet(stream)
            by_name = {name.strip().casefold(): name for name in reversed(opened.schema_arrow.names)}
            _refuse_lacking(table, list(by_name))
            wanted = [by_name[name] for name in COLUMNS if name in by_name]
            number = 0
            for batch in opened.iter_batches(BATCH, columns=wanted, use_threads=False):
                values = {name: batch.column(place).to_pylist() for place, name in enumerate(batch.schema.names)}
                nothing = [None] * len(batch)
                for row in zip(*(values.get(by_name.get(name, ""), nothing) for name in COLUMNS), strict=True):
                    number += 1
                    path, label, split, group = ("" if value is None else str(value) for value in row)
                    yield number, path, label, split, group
    except parquet_errors() as error:
        why = str(error).partition("\n")[0]
        raise DataError(f"{table} cannot be read: {why}.", "Write it again, or fetch it again.") from None


def _refuse_lacking(table: Path, names: list[str]) -> None:
    for needed in ("path", "label"):
        if needed not in names:
            raise DataError(f"{table} has no column '{needed}'. {did_you_mean(needed, names)}", LAYOUT_HINT)


def _split(word: str, table: Path, number: int) -> str | None:
    if not word.strip():
        return None
    split = split_word(word)
    if split is None:
        allowed = ", ".join(SPLIT_WORDS)
        raise DataError(f"{table}, row {number}: split '{word}' is unknown.", f"Allowed: {allowed}, or nothing.")
    return split
