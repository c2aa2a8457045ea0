"""The photos of a CSV with the columns path, label and, if wanted, split and group.

Paths are relative to the CSV's folder, or absolute. The user has named each file, so links are followed.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from featherlite.data.listing import LAYOUT_HINT, SPLIT_WORDS, Candidate, Listing, class_label
from featherlite.errors import DataError, did_you_mean

__all__ = ["list_table"]


def list_table(table: Path) -> Listing:
    """The candidates and faults of a CSV.

    Raises:
        DataError: not UTF-8, not a CSV, a needed column is missing, or a split has an unknown name.
    """
    listing = Listing(table, "csv")
    base = Path(os.path.realpath(table.parent))
    rows: dict[str, int] = {}
    for number, row in _rows(table):
        given, label = row.get("path", ""), row.get("label", "")
        where = given or f"row {number}"
        if not given or not label:
            listing.fault(where, "incomplete", f"row {number} has no {'path' if not given else 'label'}")
            continue
        file = Path(os.path.normpath(base / given))
        absolute = Path(given).is_absolute() and not file.is_relative_to(base)
        path = str(file) if absolute else Path(os.path.relpath(file, base)).as_posix()
        if path in rows:
            listing.fault(path, "repeated", f"row {number} names it again (label '{label}'); row {rows[path]} counts")
            continue
        rows[path] = number
        split = _split_word(row.get("split", ""), table, number)
        group = row.get("group") or None
        _add(listing, Candidate(path, str(file), class_label(label, where), split, group))
    if not rows and not listing.faults:
        raise DataError(f"{table} has no rows.", LAYOUT_HINT)
    return listing


def _add(listing: Listing, candidate: Candidate) -> None:
    try:
        regular = stat.S_ISREG(Path(candidate.file).stat().st_mode)
    except FileNotFoundError:
        listing.fault(candidate.path, "missing", "no such file")
    except (OSError, ValueError) as error:
        listing.fault(candidate.path, "unreadable", f"cannot be read ({error})")
    else:
        if regular:
            listing.candidates.append(candidate)
        else:
            listing.fault(candidate.path, "not-a-file", "not a file")


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> value) of every row; columns in lower case; comma, semicolon or tab between them."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            head = stream.readline()
            stream.seek(0)
            delimiter = max(",;\t", key=head.count)
            reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
            columns = [name.strip().casefold() for name in next(reader, [])]
            for needed in ("path", "label"):
                if needed not in columns:
                    raise DataError(f"{table} has no column '{needed}'. {did_you_mean(needed, columns)}", LAYOUT_HINT)
            for values in reader:
                if values:
                    yield reader.line_num, dict(zip(columns, values, strict=False))
    except UnicodeDecodeError:
        raise DataError(f"{table} is not UTF-8 text.", "Save it as CSV UTF-8.") from None
    except csv.Error as error:
        raise DataError(f"{table} is not a CSV that can be read: {error}.", LAYOUT_HINT) from None
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror}.", "Check its permissions.") from None


def _split_word(word: str, table: Path, number: int) -> str | None:
    word = word.strip()
    if not word:
        return None
    split = SPLIT_WORDS.get(word.casefold())
    if split is None:
        allowed = ", ".join(SPLIT_WORDS)
        raise DataError(f"{table}, row {number}: split '{word}' is unknown.", f"Allowed: {allowed}, or nothing.")
    return split
