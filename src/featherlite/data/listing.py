"""What a root claims to hold: candidates for photos and the faults of all else; and what a class may be called."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from featherlite.errors import DataError

__all__ = [
    "GUARDED",
    "LAYOUT_HINT",
    "SPLIT_WORDS",
    "Candidate",
    "Fault",
    "Listing",
    "alike",
    "class_label",
    "refuse_alike",
]

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "calibration": "calibration",
}
"""Folder names and CSV values, in any case, and the split they mean."""

GUARDED = ("test", "val", "calibration", "train")
"""The splits, those that must be kept cleanest first: a photo that was given to two of them belongs to the first."""

LAYOUT_HINT = (
    "Give a folder that holds one folder of photos per class, or train/valid/test folders that hold those,"
    " or a CSV or Parquet table with the columns path,label[,split][,group], or Parquet files with embedded photos,"
    " or tar shards."
)


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """One file or folder that is not used: where, a short reason code, and a sentence."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that claims to be a photo; small, since a set may have millions.

    `path` is its name for good: relative to `base`, POSIX, unless a table gave it as absolute; for a photo inside a
    container a virtual path (`a.tar/beak/1.jpg`), and `container` is then the real file that holds it.
    """

    path: str
    label: str
    base: str
    split: str | None = None
    group: str | None = None
    container: str | None = None

    @property
    def file(self) -> str:
        """The real file whose size and times say whether the photo has changed: the container, where there is one."""
        return self.container or self.place

    @property
    def place(self) -> str:
        """Base and path as one: the photo's own key, also where many photos share a container."""
        return self.path if self.path.startswith("/") else f"{self.base}/{self.path}"


@dataclass
class Listing:
    """All candidates and faults of one root. `folders` are the class folders seen, even empty ones: path -> label."""

    root: Path
    layout: str
    candidates: list[Candidate] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)

    def fault(self, path: str, reason: str, message: str) -> None:
        """Lists a file that is not used; a name that is not UTF-8 is shown with its bytes escaped."""
        self.faults.append(Fault(os.fsencode(path).decode("utf-8", "backslashreplace"), reason, message))


def class_label(name: str, where: str) -> str:
    """The class name as shown: the folder's own, in Unicode's composed form (macOS stores the other one).

    Raises:
        DataError: blank, or with control characters (labels.txt has one name a line) or lone surrogates.
    """
    label = unicodedata.normalize("NFC", name)
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in label) or not label.strip():
        raise DataError(f"{where!r}: class name {label!r} is blank or holds control characters.", "Rename it.")
    return label


def refuse_alike(labels: Iterable[str]) -> None:
    """Makes sure that no two class names differ only in case, outer spaces or Unicode form.

    Raises:
        DataError: two do; both are named.
    """
    seen: dict[str, str] = {}
    for label in sorted(set(labels)):
        other = seen.setdefault(unicodedata.normalize("NFKC", label).strip().casefold(), label)
        if other != label:
            raise alike(other, label)


def alike(one: str, other: str) -> DataError:
    """The refusal of two class names that one cannot tell apart; escaped where they even look the same."""
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    names = f"{one!a} and {other!a}" if same else f"{one!r} and {other!r}"
    return DataError(
        f"The classes {names} differ only in case, spaces or Unicode form.",
        "Join them, or rename one: many file systems and tools cannot tell them apart.",
    )


def split_word(word: str) -> str | None:
    """The split that a word, in any case, stands for; None where it stands for none."""
    return SPLIT_WORDS.get(word.strip().casefold())
