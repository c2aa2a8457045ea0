"""Tar shards, read in place: samples whose members share a name (WebDataset), or photos in class folders.

A sample `0001` is `0001.jpg` with `0001.cls` (a number or a name), `0001.json` with a key 'label', or `0001.txt`. A
photo without any of these belongs to the folder that it lies in. Nothing is ever unpacked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from featherlite.data.containers import COMPRESSED, IMAGE_SUFFIXES, class_names, containers, given_split, peek
from featherlite.data.listing import Candidate, Listing, class_label, split_word
from featherlite.data.reader import MAX_BYTES
from featherlite.data.tar import Member, TarDamagedError, member_fault, walk_tar
from featherlite.errors import DataError

__all__ = ["PRIORITY", "listing", "recognizes"]

PRIORITY = 20
SUFFIX = ".tar"
LABEL_SUFFIXES = ("cls", "json", "txt")
"""Where a sample's class is looked for; the first that is there counts."""

LABEL_KEYS = ("label", "class_name", "class", "cls", "species", "category")
MAX_LABEL_BYTES = 2**20
KIND_FAULTS = {
    "link": ("link", "links in a tar are not followed"),
    "device": ("not-a-file", "a device or pipe, not a file"),
    "sparse": ("sparse", "sparse members are not read"),
}


def recognizes(root: Path) -> bool:
    """Whether `root` is an archive, or a folder that holds archives and no loose photos."""
    if root.is_file():
        return root.name.casefold().endswith((SUFFIX, *COMPRESSED))
    kinds = peek(root) if root.is_dir() else frozenset()
    return "photos" not in kinds and bool(kinds & {"tar", "compressed"})


def listing(root: Path) -> Listing:
    """The photos of all shards as candidates; members and shards that cannot be used as faults.

    Raises:
        DataError: compressed shards and no others; no shard is a tar.
    """
    found = Listing(root, "shards")
    single = root.is_file()
    if single and root.name.casefold().endswith(COMPRESSED):
        raise _compressed(str(root))
    base = Path(os.path.realpath(root.parent if single else root))
    names = class_names(base)
    files = [(root.name, str(base / root.name))] if single else containers(found, root, SUFFIX)
    damage: tuple[str, TarDamagedError] | None = None
    shards = 0
    for shown, file in files:
        shards += 1
        try:
            _Shard(found, str(base), shown, file, names).read()
        except TarDamagedError as error:
            damage = damage or (shown, error)
            found.fault(shown, error.reason, error.why)
    if not shards:
        raise _compressed(f"{root} holds only compressed archives: what it has")
    if not found.candidates and damage is not None:
        if damage[1].reason == "compressed":
            raise _compressed(damage[0])
        raise DataError(f"{damage[0]} cannot be used: {damage[1].why}.", "Fetch the file again, or pack it again.")
    for number, name in enumerate(names):
        found.folders[f"class {number}"] = name
    return found


def _compressed(what: str) -> DataError:
    return DataError(
        f"{what} is compressed, and photos in it cannot be reached one by one.",
        "Decompress it first (gunzip FILE.tar.gz gives FILE.tar, which is read in place), or unpack it to a folder.",
    )


@dataclass(slots=True)
class _Sample:
    """The members that share a name. A shard may have a million samples of one photo each, or one of a million."""

    photos: list[str] = field(default_factory=list)
    labels: tuple[tuple[str, Member], ...] = ()
    others: list[str] | None = None


class _Shard:
    """One tar. Its samples are held until its end, since a class may stand before or behind its photo."""

    def __init__(self, found: Listing, base: str, shown: str, file: str, names: tuple[str, ...]) -> None:
        self.found, self.base, self.shown, self.file, self.names = found, base, shown, file, names
        self.split = given_split(shown)
        self.samples: dict[str, _Sample] = {}
        self.seen: set[str] = set()

    def read(self) -> None:
        """Adds candidates and faults.

        Raises:
            TarDamagedError: the tar ends early or is damaged; what came before has been added.
        """
        try:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.found.fault(self.shown, "unreadable", f"cannot be read ({error.strerror})")
            return
        try:
            for member in walk_tar(descriptor):
                self._take(member)
        finally:
            self._finish(descriptor)
            os.close(descriptor)

    def _take(self, member: Member) -> None:
        name = member.name.removeprefix("./")
        if member.kind == "folder":
            return
        fault = KIND_FAULTS.get(member.kind) or member_fault(name)
        if fault is None and member.size > MAX_BYTES:
            fault = ("too-large", f"{member.size} bytes, at most {MAX_BYTES} allowed")
        if fault is None and name in self.seen:
            fault = ("repeated", "a second member of this name; the first one counts")
        if fault is not None:
            self._fault(name, fault)
            return
        self.seen.add(name)
        folder, slash, last = name.rpartition("/")
        stem, _, suffix = last.partition(".")
        sample = self.samples.setdefault(f"{folder}{slash}{stem}", _Sample())
        if f".{suffix.rpartition('.')[2].casefold()}" in IMAGE_SUFFIXES and suffix:
            sample.photos.append(name)
        elif suffix.casefold() in LABEL_SUFFIXES:
            sample.labels += ((suffix.casefold(), member),)
        elif sample.others is None:
            sample.others = [name]
        else:
            sample.others.append(name)

    def _finish(self, descriptor: int) -> None:
        """Gives every photo its class."""
        unlabelled: list[str] = []
        for key, sample in self.samples.items():
            if not sample.photos:
                for name in (*(sample.others or ()), *(f"{key}.{suffix}" for suffix, _ in sample.labels)):
                    self._fault(name, ("no-photo", "there is no photo of this name in the shard"))
                continue
            source = min(sample.labels, key=lambda label: LABEL_SUFFIXES.index(label[0]), default=None)
            if source is None:
                unlabelled += sample.photos
                continue
            text = _label(descriptor, source[1], source[0])
            group = f"{self.shown}/{key}" if len(sample.photos) > 1 else None
            for name in sample.photos:
                self._add(name, text, self.split, group)
        self._by_folder(unlabelled)

    def _by_folder(self, photos: list[str]) -> None:
        """Photos in class folders: folders that all have in common, above the class, do not count."""
        folders = {name.rpartition("/")[0] for name in photos}
        common = _common(folders)
        shared = photos[0].split("/")[:common] if photos else []
        above = next((split for split in map(split_word, reversed(shared)) if split), self.split)
        for name in photos:
            parts = name.split("/")[common:-1]
            split = split_word(parts[0]) if len(parts) > 1 else None
            parts = parts[1:] if split else parts
            self._add(name, parts[0] if parts else None, split or above, None)

    def _add(self, name: str, text: str | int | None, split: str | None, group: str | None) -> None:
        if text is None or text == "":
            self._fault(name, ("no-label", "no class: neither a .cls, .json or .txt beside it nor a folder"))
        elif isinstance(text, int) and self.names and not 0 <= text < len(self.names):
            self._fault(name, ("label-out-of-range", f"class {text}; classes 0 to {len(self.names) - 1} have names"))
        else:
            label = self.names[text] if isinstance(text, int) and self.names else str(text)
            path = f"{self.shown}/{name}"
            try:
                label = class_label(label, path)
            except DataError as error:  # one member of a shard must not spoil all others
                self._fault(name, ("bad-label", error.message))
                return
            self.found.candidates.append(Candidate(path, label, self.base, split, group, self.file))

    def _fault(self, name: str, fault: tuple[str, str]) -> None:
        self.found.fault(f"{self.shown}/{name}", *fault)


def _common(folders: Iterable[str]) -> int:
    """How many leading folders all photos share, as long as each has a folder left below them."""
    paths = [folder.split("/") for folder in folders if folder]
    depth = 0
    while paths and all(len(path) > depth + 1 and path[depth] == paths[0][depth] for path in paths):
        depth += 1
    return depth


def _label(descriptor: int, member: Member, suffix: str) -> str | int | None:
    """The class that a member names, a number as int; None where it names none."""
    if member.size > MAX_LABEL_BYTES:
        return None
    try:
        text = os.pread(descriptor, member.size, member.offset).decode("utf-8").strip()
        value = json.loads(text) if suffix == "json" else text
    except (ValueError, RecursionError, OSError):
        return None
    if isinstance(value, dict):
        value = next((value[key] for key in LABEL_KEYS if key in value), None)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value
