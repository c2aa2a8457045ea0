"""Faulty files planted among the drawings, so that an audit has known answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from featherlite.data.sample import PlantedFault, photo_path
from featherlite.data.sample.camera import jpeg_bytes
from featherlite.data.sample.photo import DESCRIPTION, draw_photo
from featherlite.data.sample.species import ALIKE, SPECIES

if TYPE_CHECKING:
    from featherlite.data.sample import SampleConfig

FRESH_INDEX = 1_000_000
"""Photos drawn only to be spoilt are numbered from here, so that no clean photo is their original."""

EXPLAINED: dict[str, str] = {
    "exact_duplicate": "the same bytes as `of`, in the same folder",
    "reencoded_duplicate": "the picture of `of`, saved again at a low JPEG quality",
    "resized_duplicate": "the picture of `of` at three quarters of its size",
    "two_labels": "the same bytes as `of`, in another species' folder",
    "wrong_label": "a photo of the species `of` in another species' folder",
    "truncated": "the file ends before the picture does",
    "zero_byte": "an empty file",
    "text": "a text file named .jpg",
    "blurred": "far out of focus",
    "dark": "hardly exposed",
    "overexposed": "burnt out",
    "odd_size": "an eighth of the usual size",
    "odd_aspect": "a strip, four times as wide as high",
    "exif_rotated": "stored turned, with the EXIF orientation that sets it right: no fault where that is honored",
    "grayscale": "one channel instead of three",
}
Spoiler = Callable[[int, int, int, int], bytes]


def plant_faults(folder: Path, config: SampleConfig, names: tuple[str, ...]) -> tuple[PlantedFault, ...]:
    """Every fault written below `folder`, numbered on after the clean photos of its species."""
    rng = np.random.default_rng([config.seed, 0, config.species, config.photos])
    each = max(1, config.species * config.photos // 160)
    used = dict.fromkeys(names, config.photos)
    taken: set[str] = set()
    fresh = FRESH_INDEX
    planted = []

    def place(species: int, data: bytes, fault: str, of: str = "") -> None:
        path = photo_path(names[species], used[names[species]])
        used[names[species]] += 1
        (folder / path).write_bytes(data)
        planted.append(PlantedFault(path, fault, of))

    for fault in EXPLAINED:
        for turn in range(each):
            species = int(rng.integers(config.species))
            if fault in ("exact_duplicate", "reencoded_duplicate", "resized_duplicate", "two_labels"):
                original = _original(rng, species, config.photos, names, taken)
                data = _again((folder / original).read_bytes(), fault)
                place(_other(rng, species, names) if fault == "two_labels" else species, data, fault, original)
                continue
            fresh += 1
            if fault == "wrong_label":
                data = SPOILERS["none"](config.seed, species, fresh, config.px)
                place(_other(rng, species, names), data, fault, names[species])
            elif fault in ("zero_byte", "text"):
                place(species, _text(species) if fault == "text" else b"", fault)
            elif fault == "exif_rotated":
                place(species, _rotated(config.seed, species, fresh, config.px, turn), fault)
            else:
                place(species, SPOILERS[fault](config.seed, species, fresh, config.px), fault)
    return tuple(sorted(planted, key=lambda item: item.path))


def write_faults(path: Path, faults: tuple[PlantedFault, ...]) -> None:
    """Write the list of faults as CSV with the columns path, fault, of."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "fault", "of"))
        writer.writerows((item.path, item.fault, item.of) for item in faults)


def _original(rng: np.random.Generator, species: int, photos: int, names: tuple[str, ...], taken: set[str]) -> str:
    """A clean photo of the species, one that no other duplicate copies as long as there are any."""
    order = [photo_path(names[species], int(index)) for index in rng.permutation(photos)]
    choice = next((path for path in order if path not in taken), order[0])
    taken.add(choice)
    return choice


def _other(rng: np.random.Generator, species: int, names: tuple[str, ...]) -> int:
    """A species that is another one and, where there is a choice, does not look alike."""
    alike = {frozenset(pair) for pair in ALIKE}
    others = [i for i in range(len(names)) if i != species]
    clear = [i for i in others if frozenset((names[i], names[species])) not in alike] or others
    return int(rng.choice(clear))


def _again(data: bytes, fault: str) -> bytes:
    """The bytes of a duplicate of the JPEG `data`."""
    if fault in ("exact_duplicate", "two_labels"):
        return data
    with Image.open(io.BytesIO(data)) as image:
        if fault == "reencoded_duplicate":
            return jpeg_bytes(image.convert("RGB"), 45, DESCRIPTION)
        size = (max(1, image.width * 3 // 4), max(1, image.height * 3 // 4))
        return jpeg_bytes(image.resize(size, Image.Resampling.BICUBIC), 85, DESCRIPTION)


def _spoilt(change: Callable[[Image.Image], Image.Image]) -> Spoiler:
    """A spoiler that changes the picture and stores it as usual."""

    def spoil(seed: int, species: int, index: int, px: int) -> bytes:
        image, quality = draw_photo(seed, species, index, px)
        return jpeg_bytes(change(image), quality, DESCRIPTION)

    return spoil


def _truncated(seed: int, species: int, index: int, px: int) -> bytes:
    data = jpeg_bytes(draw_photo(seed, species, index, px)[0], 90, DESCRIPTION)
    start = data.index(b"\xff\xda")
    return data[: start + (len(data) - start) // 2]


def _text(species: int) -> bytes:
    return f"Not a picture: notes on the {SPECIES[species].name}, planted by featherlite sample.\n".encode()


def _rotated(seed: int, species: int, index: int, px: int, turn: int) -> bytes:
    """A photo stored turned, with the orientation (6, 8 or 3) that a reader undoes it by."""
    image, quality = draw_photo(seed, species, index, px)
    orientation, stored = (
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
        (3, Image.Transpose.ROTATE_180),
    )[turn % 3]
    return jpeg_bytes(image.transpose(stored), quality, DESCRIPTION, orientation)


def _overexposed(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(255, round(value * 2.2 + 130)))


SPOILERS: dict[str, Spoiler] = {
    "none": _spoilt(lambda image: image),
    "truncated": _truncated,
    "blurred": _spoilt(lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 28))),
    "dark": _spoilt(lambda image: image.point(lambda value: round(value * 0.09))),
    "overexposed": _spoilt(_overexposed),
    "odd_size": _spoilt(lambda image: image.reduce(8)),
    "odd_aspect": _spoilt(lambda image: image.crop((0, image.height * 3 // 8, image.width, image.height * 5 // 8))),
    "grayscale": _spoilt(lambda image: image.convert("L")),
}
