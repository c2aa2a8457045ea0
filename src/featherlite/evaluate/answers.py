"""What a network answered, photo by photo: the table behind every score, so that networks can be held side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import BundleError
from featherlite.evaluate.metrics import ranking
from featherlite.preprocess import softmax

__all__ = ["Answers", "answers_of", "predictions_file", "read_answers", "write_answers"]


@dataclass(frozen=True)
class Answers:
    """The columns of one subject's answers, one entry a photo, equally long."""

    path: tuple[str, ...]
    label: tuple[str, ...]
    predicted: tuple[str, ...]
    probability: tuple[float, ...]
    """of the predicted class, in [0, 1]"""
    top5: tuple[tuple[str, ...], ...]
    """the five best classes, best first; fewer where there are fewer classes"""

    def __len__(self) -> int:
        return len(self.path)


def predictions_file(split: str) -> str:
    """Where a bundle keeps the answers to a split's photos."""
    return f"predictions/{split}.parquet"


def answers_of(
    logits: NDArray[np.float32], labels: NDArray[np.int64], names: Sequence[str], paths: Sequence[str]
) -> Answers:
    """The answers behind logits float32 [n, classes] to photos of true classes int64 [n]."""
    best = ranking(logits, 5)
    sureness = softmax(logits.astype(np.float32))[np.arange(len(labels)), best[:, 0]]
    return Answers(
        path=tuple(paths),
        label=tuple(names[label] for label in labels),
        predicted=tuple(names[first] for first in best[:, 0]),
        probability=tuple(round(float(probability), 6) for probability in sureness),
        top5=tuple(tuple(names[place] for place in row) for row in best),
    )


def write_answers(answers: Mapping[str, Answers]) -> bytes:
    """A Parquet file of the answers of every subject ('network', or the name of an export), in the order given.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    from featherlite.data.splits import pyarrow_modules

    pyarrow, parquet = pyarrow_modules("Keeping the answers of a network")
    columns: dict[str, list[object]] = {"subject": [name for name, one in answers.items() for _ in range(len(one))]}
    for field in fields(Answers):
        columns[field.name] = [cell for one in answers.values() for cell in getattr(one, field.name)]
    text = pyarrow.string()
    kinds = {"probability": pyarrow.float32(), "top5": pyarrow.list_(text)}
    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in columns])
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_answers(content: bytes, where: str) -> dict[str, Answers]:
    """The answers of every subject in such a file; `where` names it in errors.

    Raises:
        BundleError: it is damaged, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    from featherlite.data.splits import pyarrow_modules

    pyarrow, parquet = pyarrow_modules("Reading the answers of a network")
    try:
        table = parquet.read_table(io.BytesIO(content))
        subjects = table.column("subject").to_pylist()
        columns = {field.name: table.column(field.name).to_pylist() for field in fields(Answers)}
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise BundleError(
            f"{where} is damaged: {str(error).splitlines()[0]}.", "Run the step evaluate again."
        ) from None
    columns["top5"] = [tuple(row or ()) for row in columns["top5"]]
    rows: dict[str, list[int]] = {}
    for place, subject in enumerate(subjects):
        rows.setdefault(subject, []).append(place)
    return {
        subject: Answers(**{name: tuple(cells[place] for place in places) for name, cells in columns.items()})
        for subject, places in rows.items()
    }
