"""Photos in, species and probabilities out, with the runtime alone: no Keras, no TensorFlow, no pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ValidationError

from featherlite.bundle import Bundle
from featherlite.errors import BundleError, DataError, RequestError, did_you_mean
from featherlite.preprocess import Preprocess, softmax, to_rgb
from featherlite.runtime.flatbuffer import read_metadata
from featherlite.runtime.interpreter import open_runtime

__all__ = ["Guess", "Prediction", "PredictionFailure", "Predictor", "Source"]

Source = Path | str | bytes | Image.Image

BATCH = 32
"""Photos in memory at once."""

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"))
"""What is taken from a folder; a file named by itself is tried whatever it is called."""


class Guess(NamedTuple):
    """One class and its probability in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What one photo shows: the guesses, the surest first."""

    source: str
    guesses: tuple[Guess, ...]

    def to_json(self) -> dict[str, Any]:
        """The photo's entry in the `predict` document."""
        return {"path": self.source, "predictions": [guess._asdict() for guess in self.guesses]}


@dataclass(frozen=True)
class PredictionFailure:
    """Why one photo could not be looked at."""

    source: str
    error: str

    def to_json(self) -> dict[str, Any]:
        """The photo's entry in the `predict` document."""
        return {"path": self.source, "error": self.error}


class Predictor:
    """An artefact ready to answer, with the labels and the preprocessing that it carries inside.

    `path` is a bundle, a run's folder, or a .tflite file that featherlite wrote. Of a bundle's exports `export` is
    taken; by default the one that speaks for the bundle, else int8, else the first.

    Raises:
        RequestError: nothing is there, or the bundle has no such export.
        BundleError: the bundle or the artefact is damaged, or carries no labels and preprocessing.
    """

    def __init__(self, path: Path | str, export: str | None = None, threads: int = 1) -> None:
        data, self.export = _artefact(Path(path), export)
        self._runtime = open_runtime("litert", data, threads)
        self.labels = _labels(data)
        self.preprocess = _preprocess(data)
        (height, width), classes = self._runtime.facts.input.shape[1:3], self._runtime.facts.output.shape[1]
        if classes != len(self.labels):
            raise BundleError(f"The artefact has {classes} outputs, but carries {len(self.labels)} labels.")
        carried = self.preprocess
        if (height, width) != (carried.height, carried.width):
            raise BundleError(
                f"The artefact takes {width}x{height} pixels, but carries a preprocessing "
                f"to {carried.width}x{carried.height}."
            )

    def predict(self, sources: Iterable[Source], top: int = 5) -> list[Prediction | PredictionFailure]:
        """One outcome a source, in their order; a photo that cannot be read gives its own failure.

        Raises:
            RequestError: `top` is not positive.
        """
        return list(self.stream(sources, top))

    def predict_files(self, paths: Sequence[Path], top: int = 5) -> Iterator[tuple[Path, tuple[Guess, ...] | str]]:
        """Each photo with its guesses, or with why there are none; of a folder every photo in it, sorted."""
        files = list(_expanded(paths))
        for path, outcome in zip(files, self.stream(files, top), strict=True):
            yield path, outcome.guesses if isinstance(outcome, Prediction) else outcome.error

    def stream(self, sources: Iterable[Source], top: int = 5) -> Iterator[Prediction | PredictionFailure]:
        """As `predict`, one outcome after the other: any number of photos in the memory of a few.

        Raises:
            RequestError: `top` is not positive.
        """
        if top < 1:
            raise RequestError(f"top is {top}; at least 1 guess can be asked for.")
        numbered = enumerate(sources)
        while batch := list(islice(numbered, BATCH)):
            yield from self._batch(batch, top)

    def logits(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits float32 [n, classes] of preprocessed photos uint8 [n, height, width, 3]."""
        return self._runtime.run(photos)

    def _batch(self, batch: list[tuple[int, Source]], top: int) -> list[Prediction | PredictionFailure]:
        outcomes: list[Prediction | PredictionFailure] = []
        photos = []
        for index, source in batch:
            name = str(source) if isinstance(source, Path | str) else f"photo {index}"
            try:
                photos.append(self._prepared(source))
                outcomes.append(Prediction(name, ()))
            except DataError as error:
                outcomes.append(PredictionFailure(name, str(error)))
        if not photos:
            return outcomes
        logits = self.logits(np.stack(photos))
        # Equal logits in order of index, as in the scores.
        best = np.argsort(-logits, axis=1, kind="stable")[:, :top]
        rows = iter(zip(softmax(logits), best, strict=True))
        return [self._named(one.source, *next(rows)) if isinstance(one, Prediction) else one for one in outcomes]

    def _named(self, source: str, shares: NDArray[np.float32], best: NDArray[np.int64]) -> Prediction:
        return Prediction(source, tuple(Guess(self.labels[index], round(float(shares[index]), 6)) for index in best))

    def _prepared(self, source: Source) -> NDArray[np.uint8]:
        if isinstance(source, Image.Image):
            try:
                return self.preprocess(to_rgb(ImageOps.exif_transpose(source)))
            except (OSError, ValueError, SyntaxError) as error:
                raise DataError(f"Not a readable photo ({error}).") from None
        return self.preprocess(Path(source) if isinstance(source, str) else source)


def _artefact(path: Path, export: str | None) -> tuple[bytes, str]:
    """The .tflite and the name of the export."""
    if not path.exists():
        raise RequestError(f"{path}: no such bundle or .tflite file.", "Give the folder that a run wrote.")
    if path.is_file():
        if export is not None:
            raise RequestError(f"{path} is one artefact; an export ('{export}') can be chosen in a bundle only.")
        try:
            return path.read_bytes(), path.stem
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    bundle = Bundle.open(path)
    if not bundle.exports:
        raise RequestError(f"{path} has no export to predict with.", "Run the step 'quantize' or 'export' on it first.")
    preferred = [bundle.subject, "int8", bundle.exports[0]] if export is None else [export]
    chosen = next((name for name in preferred if name in bundle.exports), None)
    if chosen is None:
        raise RequestError(f"{path} has no export '{export}'.", did_you_mean(str(export), bundle.exports))
    return bundle.read(f"exports/{chosen}/model.tflite"), chosen


def _labels(data: bytes) -> tuple[str, ...]:
    try:
        return tuple(_carried(data, "labels.txt").decode("utf-8").removesuffix("\n").split("\n"))
    except UnicodeDecodeError:
        raise BundleError("The labels inside the artefact are not UTF-8 text.") from None


def _preprocess(data: bytes) -> Preprocess:
    try:
        return Preprocess.model_validate_json(_carried(data, "preprocess.json"))
    except ValidationError as error:
        raise BundleError(f"The preprocessing inside the artefact is unknown: {error.errors()[0]['msg']}.") from None


def _carried(data: bytes, name: str) -> bytes:
    content = read_metadata(data, name)
    if content is None:
        raise BundleError(
            f"The artefact carries no {name}, so its answers cannot be named.",
            "Give an artefact that featherlite exported.",
        )
    return content


def _expanded(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            yield path
