"""Photos in the rows of a Parquet file: which column they are in, what class a row has, and the bytes of a row.

The layout is that of Hugging Face data sets: a column of struct{bytes, path}, or of plain bytes, with the names of the
classes in the schema's metadata; or labels as text.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from featherlite.errors import DataError, MissingExtraError

__all__ = ["Columns", "NoPhotosError", "RowPhotos", "columns_of", "open_parquet", "parquet_errors"]

IMAGE_NAMES = ("image", "img", "photo", "picture", "jpg", "jpeg", "png", "bytes", "content", "image_bytes")
LABEL_NAMES = ("label", "labels", "class", "class_name", "species", "category", "fine_label", "target")
HINT = (
    "Embedded photos need a column 'image' of bytes, or of struct{bytes, path}, and a column 'label' of text or"
    " numbers; a table needs the columns path and label."
)
BATCH_BYTES = 32 * 2**20
KEEP_BYTES = 128 * 2**20
"""Decoded rows are kept up to this size for each open file, since threads ask for neighbours."""


class NoPhotosError(DataError):
    """A Parquet file has no column that could hold photos: it may be a table of paths."""


@dataclass(frozen=True)
class Columns:
    """Where photo, class, split and group stand. `names` are the names of numbered classes, where they are known."""

    image: str
    leaf: str
    label: str
    names: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None


def open_parquet(stream: Any) -> Any:
    """A pyarrow ParquetFile over an open file, which reads no more than it is asked for.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: not a Parquet file.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("train", "Reading Parquet files") from None
    try:
        return pq.ParquetFile(stream, buffer_size=2**20, pre_buffer=False)
    except parquet_errors() as error:
        why = str(error).partition("\n")[0]
        raise DataError(f"{getattr(stream, 'name', 'The file')} is not a readable Parquet file: {why}.", HINT) from None


def parquet_errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises on a damaged or hostile file."""
    import pyarrow

    return (pyarrow.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)


def columns_of(schema: Any, where: str) -> Columns:
    """The columns of a file with embedded photos.

    Raises:
        DataError: there is no photo column, or no class column, or more than one that could be meant.
    """
    features = _features(schema, where)
    images = {field.name: leaf for field in schema if (leaf := _photo_leaf(field))}
    marked = [name for name in images if _kind(features, name) == "Image"]
    named = [name for name in images if name.casefold() in IMAGE_NAMES]
    nested = [name for name in images if images[name] != name]
    found = marked or named or nested or ([] if "path" in schema.names else list(images))
    if not found:
        shown = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:8])
        raise NoPhotosError(f"{where} has no column of photos (it has {shown or 'no columns'}).", HINT)
    if len(found) > 1 and "image" not in found:
        raise DataError(f"{where} has more than one column of photos: {', '.join(sorted(found))}.", HINT)
    image = "image" if "image" in found else found[0]
    label = _label_column(schema, features, where)
    others = {field.name.casefold(): field.name for field in schema if _is_text(field.type)}
    names = features.get(label, {}).get("names") if _kind(features, label) == "ClassLabel" else None
    return Columns(image, images[image], label, _names(names, where), others.get("split"), others.get("group"))


def _features(schema: Any, where: str) -> dict[str, Any]:
    """The data set's own description of its columns, by name."""
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return {}
    try:
        described = json.loads(raw)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{where}: its 'huggingface' metadata cannot be understood.", HINT) from None
    return described if isinstance(described, dict) else {}


def _kind(features: dict[str, Any], name: str) -> str:
    described = features.get(name)
    return str(described.get("_type", "")) if isinstance(described, dict) else ""


def _photo_leaf(field: Any) -> str:
    """The path of the bytes below a column that may hold photos, else nothing."""
    import pyarrow.types as kinds

    def binary(kind: Any) -> bool:
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    if binary(field.type):
        return str(field.name)
    if kinds.is_struct(field.type):
        inner = {field.type.field(place).name: field.type.field(place).type for place in range(field.type.num_fields)}
        return f"{field.name}.bytes" if "bytes" in inner and binary(inner["bytes"]) else ""
    return ""


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _label_column(schema: Any, features: dict[str, Any], where: str) -> str:
    import pyarrow.types as kinds

    fit = [field.name for field in schema if _is_text(field.type) or kinds.is_integer(field.type)]
    by_name = [name for wanted in LABEL_NAMES for name in fit if name.casefold() == wanted]
    classes = [name for name in fit if _kind(features, name) == "ClassLabel"]
    if by_name:
        return str(by_name[0])
    if len(classes) == 1:
        return str(classes[0])
    told = f"more than one column of classes: {', '.join(classes)}" if classes else "no column of classes"
    raise DataError(f"{where} has {told} (columns: {', '.join(schema.names[:12])}).", HINT)


def _names(names: Any, where: str) -> tuple[str, ...]:
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: the names of its classes are not a list of texts.", HINT)
    if len(set(names)) != len(names):
        raise DataError(f"{where}: two of its classes have the same name.", HINT)
    return tuple(names)


class RowPhotos:
    """The photos of one open Parquet file by row. Rows in order cost one pass; rows behind cost their row group again.

    Not for two threads at once: the reader holds a lock.
    """

    def __init__(self, stream: Any) -> None:
        self._file = open_parquet(stream)
        self._columns = columns_of(self._file.schema_arrow, str(getattr(stream, "name", "The file")))
        counts = [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]
        self._starts = [0]
        for count in counts:
            self._starts.append(self._starts[-1] + max(count, 0))
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._kept_bytes = 0
        self._batches: Iterator[Any] = iter(())
        self._group = -1
        self._next = 0

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, row: int) -> bytes | None:
        """The bytes of a row, or None where it has none.

        Raises:
            IndexError: there is no such row.
            Exception: what `parquet_errors` lists, where the file is damaged.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        found = self._find(row)
        if found is None:
            group = bisect_right(self._starts, row) - 1
            if group != self._group or row < self._next:
                self._begin(group)
            while found is None:
                self._advance()
                found = self._find(row)
        start, column = found
        value = column[row - start].as_py()
        return bytes(value) if value is not None else None

    def _find(self, row: int) -> tuple[int, Any] | None:
        for start, column in reversed(self._kept.items()):
            if start <= row < start + len(column):
                return start, column
        return None

    def _begin(self, group: int) -> None:
        """Starts on a row group, a few rows at a time: what they may swell to is bounded by what its footer claims.

        A dictionary may hold one large photo that every row names; then each row may be as large as all together.
        """
        described = self._file.metadata.row_group(group)
        columns = [described.column(place) for place in range(described.num_columns)]
        columns = [column for column in columns if column.path_in_schema == self._columns.leaf]
        claimed = max((column.total_uncompressed_size for column in columns), default=0)
        shared = any(column.has_dictionary_page for column in columns)
        largest = max(claimed if shared else claimed // max(described.num_rows, 1), 1)
        size = min(max(BATCH_BYTES // largest, 1), 64)
        self._batches = self._file.iter_batches(
            size, row_groups=[group], columns=[self._columns.leaf], use_threads=False
        )
        self._group, self._next = group, self._starts[group]

    def _advance(self) -> None:
        batch = next(self._batches, None)
        if batch is None or not len(batch):
            raise ValueError(f"row group {self._group} holds fewer rows than it claims")
        column = batch.column(0)
        if "." in self._columns.leaf and self._columns.leaf != self._columns.image:
            column = column.flatten()[0]
        replaced = self._kept.pop(self._next, None)  # where a row group is begun again
        self._kept[self._next] = column
        self._kept_bytes += column.nbytes - (replaced.nbytes if replaced is not None else 0)
        self._next += len(column)
        while self._kept_bytes > KEEP_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= dropped.nbytes
