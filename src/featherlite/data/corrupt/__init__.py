"""Corruptions for evaluation: what weather, light, lens, camera and file do to a photo, in five severities.

Two families. `train`: training augmentation may use these. `held_out`: it never may, so that a score on them tells how
a network fares in what it was not prepared for. What a camera outdoors meets again and again is in `train`, since a
network that is to work there should be prepared for it: fog, rain, snow, dusk, glare, motion, defocus, noise, JPEG.
What usual color augmentation does anyhow (gain, contrast) is there too: to call it unseen would be a false claim.
`held_out` asks for the step from the known to the unknown within a cause: frost after fog and snow, shadow and a color
cast after dusk and glare, zooming after focus and motion, pixels after JPEG; the lens is held out as a whole.

A corruption is a function under `@corruption` in any file of this folder; it is found by that alone. It gets the photo
as float32 [h, w, 3], in linear light or as encoded in the file, and returns the same; its strengths are a table, five
values a parameter. The same generator state draws the same scene at each severity, only stronger: drops stay in place.

Source: five severities and the mean over corruptions are the idea of D. Hendrycks, T. Dietterich, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations" (arXiv:1903.12261). Functions and strengths are our own.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from featherlite.data.corrupt._light import Floats, decoded_light, encoded_light
from featherlite.errors import RequestError, did_you_mean
from featherlite.preprocess import Preprocess

__all__ = [
    "FAMILIES",
    "MIN_PX",
    "SEVERITIES",
    "Corruption",
    "Family",
    "corrupt",
    "corrupted_input",
    "corruption",
    "corruptions",
    "generator_of",
    "load_corruption",
]

Pixels = NDArray[np.uint8]
Family = Literal["train", "held_out"]
Kind = Literal["weather", "light", "blur", "lens", "sensor", "file"]
Strengths = Mapping[str, tuple[float, float, float, float, float]]

FAMILIES: tuple[Family, ...] = ("train", "held_out")
SEVERITIES = (1, 2, 3, 4, 5)
MIN_PX = 16
"""The smallest side of a photo that can be corrupted, in pixels."""


@dataclass(frozen=True, eq=False)
class Corruption:
    """A declared corruption: name, family, kind of cause, strengths by parameter, and the function itself.

    `linear` says whether the function works in linear light (scene, lens, sensor) or on the encoded values (the file).
    """

    name: str
    family: Family
    kind: Kind
    strengths: Strengths
    linear: bool
    summary: str
    function: Callable[..., Floats]

    def __call__(self, photo: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
        """The corrupted photo: uint8 [h, w, 3], 0..255, like `photo`, which is left as it is.

        Raises:
            RequestError: the severity is none of 1..5, or `photo` is not uint8 [h, w, 3] with sides of 16 or more.
        """
        _check(photo)
        scene = decoded_light(photo, self.linear)
        changed = self.function(scene, rng, **self.at(severity))
        return encoded_light(changed, self.linear)

    def at(self, severity: int) -> dict[str, float]:
        """The parameters of one severity, by name.

        Raises:
            RequestError: the severity is none of 1..5.
        """
        if severity not in SEVERITIES:
            raise RequestError(f"There is no severity {severity!r}.", "Severities are 1, 2, 3, 4 and 5.")
        return {name: values[severity - 1] for name, values in self.strengths.items()}


def corruption(
    *, family: Family, kind: Kind, linear: bool = True, **strengths: tuple[float, float, float, float, float]
) -> Callable[[Callable[..., Floats]], Corruption]:
    """Declares the function below it, `(scene, rng, *, parameter...) -> scene`, as a corruption of that name.

    Each further keyword is a parameter of the function and holds its value at severities 1 to 5.
    """

    def declare(function: Callable[..., Floats]) -> Corruption:
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        table = MappingProxyType(dict(strengths))
        return Corruption(function.__name__, family, kind, table, linear, summary, function)

    return declare


@cache
def corruptions() -> Mapping[str, Corruption]:
    """Every corruption there is, by name: those that training may use first, the rest by file and name."""
    found = []
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = importlib.import_module(f"{__name__}.{file.stem}")
        found += [value for value in vars(module).values() if isinstance(value, Corruption)]
    found.sort(key=lambda one: (FAMILIES.index(one.family), one.function.__module__, one.name))
    return MappingProxyType({one.name: one for one in found})


def load_corruption(name: str) -> Corruption:
    """The corruption of that name.

    Raises:
        RequestError: there is none; the nearest known name is suggested.
    """
    if name not in corruptions():
        raise RequestError(f"There is no corruption '{name}'.", did_you_mean(name, corruptions()))
    return corruptions()[name]


def corrupt(photos: Pixels | Sequence[Pixels], name: str, severity: int, seed: int) -> list[Pixels]:
    """The photos under one corruption, each uint8 [h, w, 3], in their order.

    What is drawn for a photo hangs on the seed, the corruption and the photo's own pixels alone: it is the same in any
    batch and any order, and the same scene at every severity.

    Raises:
        RequestError: there is no such corruption or severity, or a photo is none of 16 pixels or more a side.
    """
    one = load_corruption(name)
    return [one(photo, severity, generator_of(photo, name, seed)) for photo in photos]


def corrupted_input(photo: Pixels, one: Corruption, severity: int, seed: int, preprocess: Preprocess) -> Pixels:
    """What a network gets of a corrupted photo: uint8 [h, w, 3], from `preprocess.plain` of the photo, of that shape.

    A camera sees the weather before anything reduces noise or stretches levels: `preprocess.enhance` comes last. The
    bars that `pad` adds are neither corrupted nor enhanced.

    Raises:
        RequestError: there is no such severity, or the photo is none of 16 pixels or more a side.
    """
    made = one(photo, severity, generator_of(photo, one.name, seed))
    if preprocess.fit != "pad":
        return preprocess.enhance(made)
    rows, columns = (_within_bars(photo, axis, preprocess.offset) for axis in (0, 1))
    framed = photo.copy()
    framed[rows, columns] = preprocess.enhance(np.ascontiguousarray(made[rows, columns]))
    return framed


def _within_bars(photo: Pixels, axis: int, value: int) -> slice:
    """The rows (axis 0) or columns (1) from the first to the last that is not all of one value; all if none is not."""
    other = np.flatnonzero((photo != value).any(axis=(1 - axis, 2)))
    return slice(int(other[0]), int(other[-1]) + 1) if len(other) else slice(0, photo.shape[axis])


def generator_of(photo: Pixels, name: str, seed: int) -> np.random.Generator:
    """The random generator of one photo (uint8 [h, w, 3]) under one corruption."""
    digest = hashlib.blake2b(np.ascontiguousarray(photo).tobytes(), digest_size=16, person=name.encode()[:16])
    return np.random.default_rng([seed, int.from_bytes(digest.digest(), "little")])


def _check(photo: Pixels) -> None:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise RequestError(f"A photo is uint8 [height, width, 3]; this is {photo.dtype} {list(photo.shape)}.")
    height, width = photo.shape[:2]
    if min(height, width) < MIN_PX:
        raise RequestError(
            f"A photo of {width} x {height} pixels is too small to corrupt.",
            f"Sides need {MIN_PX} pixels or more.",
        )
