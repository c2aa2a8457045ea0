"""Parquet files with embedded photos, as Hugging Face data sets are stored; one file, or a folder of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featherlite.data.containers import class_names, containers, given_split, peek
from featherlite.data.listing import LAYOUT_HINT, Candidate, Listing, class_label, split_word
from featherlite.data.parquet import Columns, NoPhotosError, columns_of, open_parquet, parquet_errors
from featherlite.errors import DataError

__all__ = ["PRIORITY", "listing", "recognizes"]

PRIORITY = 10
"""Before tables, which are Parquet files too: one that has photos in it is read here."""

BATCH = 65_536
SUFFIX = ".parquet"


def recognizes(root: Path) -> bool:
    """Whether `root` is a Parquet file with a column of photos, or a folder of Parquet files and no loose photos."""
    if root.is_file():
        return root.suffix.casefold() == SUFFIX and _holds_photos(root)
    if not root.is_dir():
        return False
    kinds = peek(root)
    if "photos" in kinds or "parquet" not in kinds:
        return False
    return "tar" not in kinds or any(
        _holds_photos(Path(file)) for _, file in containers(Listing(root, ""), root, SUFFIX)
    )


def listing(root: Path) -> Listing:
    """The rows of all files as candidates; files that cannot be used, and rows without a class, as faults.

    Raises:
        DataError: no file can be used; the first one's reason is told.
    """
    found = Listing(root, "parquet")
    single = root.is_file()
    base = Path(os.path.realpath(root.parent if single else root))
    names = class_names(base)
    files = [(root.name, str(base / root.name))] if single else containers(found, root, SUFFIX)
    first: DataError | None = None
    for shown, file in files:
        try:
            _read(found, str(base), shown, file, names)
        except DataError as error:
            first = first or error
            found.fault(shown, "wrong-schema", error.message)
    if not found.candidates and first is not None:
        raise first
    if not found.candidates and not found.faults:
        raise DataError(f"{root} has no rows.", LAYOUT_HINT)
    return found


def _holds_photos(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            schema = open_parquet(stream).schema_arrow
    except (DataError, OSError):
        return False
    try:
        columns_of(schema, file.name)
    except NoPhotosError:
        return False
    except DataError:
        return True  # photos there are: the listing tells what is wrong with the rest
    return True


def _read(found: Listing, base: str, shown: str, file: str, names: tuple[str, ...]) -> None:
    """Adds the rows of one file."""
    split = given_split(shown)
    try:
        with open(file, "rb") as stream:  # noqa: PTH123
            opened = open_parquet(stream)
            columns = columns_of(opened.schema_arrow, shown)
            if not columns.names and names:
                columns = Columns(columns.image, columns.leaf, columns.label, names, columns.split, columns.group)
            for number, name in enumerate(columns.names):
                found.folders.setdefault(f"class {number} of {shown}", class_label(name, f"{shown}, class {number}"))
            rows = _Labels(columns, shown)
            for row, (label, given, group) in enumerate(_rows(opened, columns)):
                place = f"{shown}/{row:07d}"
                name, fault = rows.name(label)
                if fault:
                    found.fault(place, *fault)
                else:
                    word = split_word(given) if given else None
                    found.candidates.append(Candidate(place, name, base, word or split, group or None, file))
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror or error}.", "Check its permissions.") from None


def _rows(opened: Any, columns: Columns) -> Iterator[tuple[Any, str | None, str | None]]:
    """(class, split, group) of every row; the photos stay unread."""
    wanted = [columns.label, *(name for name in (columns.split, columns.group) if name)]
    try:
        for batch in opened.iter_batches(BATCH, columns=wanted, use_threads=False):
            by_name = {name: batch.column(place).to_pylist() for place, name in enumerate(batch.schema.names)}
            nothing = [None] * len(batch)
            yield from zip(
                by_name[columns.label],
                by_name.get(columns.split or "", nothing),
                by_name.get(columns.group or "", nothing),
                strict=True,
            )
    except parquet_errors() as error:
        why = str(error).partition("\n")[0]
        raise DataError(f"Its rows cannot be read: {why}.", "Fetch the file again.") from None


class _Labels:
    """Class names of rows, each made once."""

    def __init__(self, columns: Columns, shown: str) -> None:
        self._names = columns.names
        self._shown = shown
        self._made: dict[Any, str] = {}

    def name(self, label: Any) -> tuple[str, tuple[str, str] | None]:
        """(class name, None), or ("", (reason, message))."""
        known = self._made.get(label)
        if known is not None:
            return known, None
        if label is None or label in ("", -1):
            return "", ("no-label", "the row has no class")
        if isinstance(label, int) and self._names:
            if not 0 <= label < len(self._names):
                return "", ("label-out-of-range", f"class {label}; the file names classes 0 to {len(self._names) - 1}")
            text = self._names[label]
        else:
            text = str(label)
        try:
            self._made[label] = class_label(text, self._shown)
        except DataError as error:  # one row must not spoil all others
            return "", ("bad-label", error.message)
        return self._made[label], None
