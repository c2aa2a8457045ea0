"""Makes a messy copy of a folder of photos, and says which faults were planted where.

    python benchmarks/plant.py FLOWERS OUT --strangers IMAGENET_SAMPLES

Every planted photo is made from another original, drawn by the seed; names of planted files give nothing away. The list
stands beside the copy as a CSV: path, kind, of. What `of` means depends on the kind: the photo that shows the same
picture; the sound photo that stood there before; the photo's own place, where it was moved to a wrong class.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.random import Generator

from damage import TWINS, damaged

__all__ = [
    "CONFLICTS",
    "FAULTY",
    "LEAKS",
    "OFF_TOPIC",
    "PHOTOS",
    "SAME",
    "UNREADABLE",
    "WRONG_LABEL",
    "Planted",
    "plant_leaks",
    "plant_mess",
    "plant_wrong_labels",
    "write_planted",
]

SAME = ("exact", "reencoded", *TWINS, "combined")
"""A second file beside the original, in its class."""

CONFLICTS = ("conflict-exact", "conflict-near")
"""A second file in another class: the same bytes, or the same picture changed in one of the ways of SAME."""

UNREADABLE = ("truncated", "empty", "text")
FAULTY = (
    *UNREADABLE,
    "blurred",
    "motion",
    "dark",
    "over-exposed",
    "washed-out",
    "low-information",
    "grayscale",
    "odd-size",
    "odd-aspect",
    "tiny",
    "rotated",
)
"""Put in the place of the original."""

LEAKS = ("leak-exact", "leak-near")
"""A second file in another split: the same bytes, or the same picture changed."""

OFF_TOPIC = "off-topic"
WRONG_LABEL = "wrong-label"

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}

THINGS = frozenset(range(398, 917)) - {425, 448, 489, 580, 703, 706, 738, 853, 883, 888}
"""Classes of ImageNet that are things, without those which show gardens or birds: they belong to no set of animals or
plants."""


@dataclass(frozen=True)
class Planted:
    """One planted fault: the faulty file, its kind, and what it was made from (paths relative to the copy's root)."""

    path: str
    kind: str
    of: str


def plant_mess(
    photos: Path,
    out: Path,
    *,
    each: int = 50,
    seed: int = 0,
    kinds: Sequence[str] = (*SAME, *CONFLICTS, *FAULTY),
    strangers: Path | None = None,
) -> tuple[Planted, ...]:
    """A copy of `photos` (class folders) under `out` with `each` faults of each kind; what was planted, sorted by path.

    `strangers` is a folder with photos and labels.csv of ImageNet, from which off-topic photos are drawn.

    Raises:
        ValueError: there are fewer photos than faults to plant.
    """
    random = np.random.default_rng(seed)
    names = _copied(photos, out)
    originals = _drawn(names, each * len(kinds), random)
    classes = sorted({name.partition("/")[0] for name in names})
    planted = []
    for number, original in enumerate(originals):
        kind = kinds[number // each]
        own = original.partition("/")[0]
        content = (photos / original).read_bytes()
        if kind in FAULTY:
            path = original
            content = damaged(content, kind, random)
        elif kind in CONFLICTS:
            path = _named(_other(classes, own, random), random)
            content = damaged(content, "exact" if kind == "conflict-exact" else "any-twin", random)
        else:
            path = _named(own, random)
            content = damaged(content, kind, random)
        (out / path).write_bytes(content)
        planted.append(Planted(path, kind, original))
    if strangers is not None:
        planted += _strangers(strangers, out, names, each, random)
    return tuple(sorted(planted, key=lambda fault: fault.path))


def plant_wrong_labels(photos: Path, out: Path, *, count: int = 50, seed: int = 0) -> tuple[Planted, ...]:
    """A copy of `photos` under `out` in which `count` photos were moved to another class; what was moved."""
    random = np.random.default_rng(seed)
    names = _copied(photos, out)
    classes = sorted({name.partition("/")[0] for name in names})
    planted = []
    for original in _drawn(names, count, random):
        path = _named(_other(classes, original.partition("/")[0], random), random)
        (out / original).rename(out / path)
        planted.append(Planted(path, WRONG_LABEL, original))
    return tuple(sorted(planted, key=lambda fault: fault.path))


def plant_leaks(photos: Path, out: Path, *, each: int = 50, seed: int = 0) -> tuple[Planted, ...]:
    """A copy of `photos` in train, valid and test folders, with photos of train again in the other two; what leaked."""
    random = np.random.default_rng(seed)
    names = _names(photos)
    marks = np.floor(np.cumsum([*SHARES.values()]) * len(names) + 0.5).astype(int)
    ranks = random.permutation(len(names))
    splits = np.array([*SHARES])[np.searchsorted(marks, ranks, "right")]
    places = {name: f"{split}/{name}" for name, split in zip(names, splits, strict=True)}
    for name, place in places.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photos / name, out / place)
    taught = [name for name in names if places[name].startswith("train/")]
    planted = []
    for number, original in enumerate(_drawn(taught, each * len(LEAKS), random)):
        kind = LEAKS[number // each]
        split = str(random.choice(["valid", "test"]))
        path = _named(f"{split}/{original.partition('/')[0]}", random)
        content = damaged((photos / original).read_bytes(), "exact" if kind == "leak-exact" else "any-twin", random)
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)
        planted.append(Planted(path, kind, places[original]))
    return tuple(sorted(planted, key=lambda fault: fault.path))


def _strangers(source: Path, out: Path, names: Sequence[str], count: int, random: Generator) -> list[Planted]:
    """Photos of things, cut to the size that most of the set's photos have, spread over its classes."""
    from PIL import Image, ImageOps

    with (source / "labels.csv").open(encoding="utf-8", newline="") as stream:
        things = sorted(row["file"] for row in csv.DictReader(stream) if int(row["class_index"]) in THINGS)
    with Image.open(out / names[0]) as image:
        size = image.size
    classes = sorted({name.partition("/")[0] for name in names})
    planted = []
    for file in _drawn(things, count, random):
        path = _named(str(random.choice(classes)), random)
        with Image.open(source / file) as image:
            ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS).save(out / path, quality=92)
        planted.append(Planted(path, OFF_TOPIC, file))
    return planted


def _names(photos: Path) -> list[str]:
    """The photos of class folders as <class>/<file>, sorted."""
    files = (file for file in photos.glob("*/*") if file.suffix.casefold() in PHOTOS)
    return sorted(file.relative_to(photos).as_posix() for file in files)


def _copied(photos: Path, out: Path) -> list[str]:
    names = _names(photos)
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photos / name, out / name)
    return names


def _drawn(names: Sequence[str], count: int, random: Generator) -> list[str]:
    if count > len(names):
        raise ValueError(f"{count} faults need as many originals, and there are {len(names)} photos")
    return [names[number] for number in random.permutation(len(names))[:count]]


def _named(folder: str, random: Generator) -> str:
    return f"{folder}/{random.integers(2**40):010x}.jpg"


def _other(classes: Sequence[str], own: str, random: Generator) -> str:
    return str(random.choice([name for name in classes if name != own]))


def write_planted(planted: Iterable[Planted], path: Path) -> None:
    """The list as a CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(field.name for field in fields(Planted))
        writer.writerows((fault.path, fault.kind, fault.of) for fault in planted)


def main() -> None:
    """Plants and lists."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=50, help="faults of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strangers", type=Path, help="folder of ImageNet photos with labels.csv")
    options = parser.parse_args()
    planted = plant_mess(options.photos, options.out, each=options.each, seed=options.seed, strangers=options.strangers)
    table = options.out.with_name(f"{options.out.name}.csv")
    write_planted(planted, table)
    print(f"{len(planted)} faults of {len({fault.kind for fault in planted})} kinds; listed in {table}")


if __name__ == "__main__":
    main()
