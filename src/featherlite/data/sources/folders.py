"""The photos of a folder: a folder per class, or train/valid/test folders that hold class folders.

Nothing is opened. Every file that is not used becomes a fault.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from featherlite.data.listing import LAYOUT_HINT, SPLIT_WORDS, Candidate, Listing, alike, class_label
from featherlite.errors import DataError

__all__ = ["PRIORITY", "listing", "recognizes"]

PRIORITY = 100
"""The last resort: every folder can be read so."""


def recognizes(root: Path) -> bool:
    """Whether `root` is a folder."""
    return root.is_dir()


def listing(root: Path) -> Listing:
    """The candidates and faults of a folder, and which of the two layouts it has.

    Raises:
        DataError: empty, not readable, or with two class folders of the same name.
    """
    found = Listing(root, "folders")
    walk = _Walk(found, os.path.realpath(root))
    top = walk.entries(walk.real_root, "", must_read=True)
    if not top:
        raise DataError(f"{root} is empty.", LAYOUT_HINT)
    given = _split_folders(top)
    if given:
        found.layout = "splits"
        for entry in top:
            if entry.name in given:
                walk.classes(walk.entries(entry.path, entry.name), entry.name, given[entry.name])
            else:
                walk.refuse(entry, "", "not-in-split", "beside the train, valid and test folders, not in one of them")
    else:
        walk.classes(top, "", None)
    walk.follow_links()
    return found


def _split_folders(top: list[os.DirEntry[str]]) -> dict[str, str]:
    """Folder name -> split, where the folders at the top are splits; else nothing.

    Not to be mistaken for a class that is called "train": split folders hold folders, and there are two of them, or
    one and no other folder.
    """
    folders = [entry for entry in top if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
    named = {
        entry.name: SPLIT_WORDS[entry.name.casefold()]
        for entry in folders
        if entry.name.casefold() in SPLIT_WORDS and _holds_folders(entry.path)
    }
    if "train" not in named.values() or (len(named) < 2 and len(folders) > 1):
        return {}
    return named


def _holds_folders(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False


@dataclass
class _Link:
    path: str
    shown: str
    label: str
    split: str | None


class _Walk:
    """Reads class folders to any depth. Each real folder is read once, so links can make no circle and no flood."""

    def __init__(self, listing: Listing, real_root: str) -> None:
        self.listing = listing
        self.real_root = real_root
        self.read: set[str] = {real_root}
        self.links: list[_Link] = []

    def entries(self, folder: str, shown: str, must_read: bool = False) -> list[os.DirEntry[str]]:
        """What a folder holds, sorted by name; empty, with a fault, where it cannot be read."""
        self.read.add(folder)
        try:
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if must_read:
                raise DataError(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from None
            self.listing.fault(shown, "unreadable", f"the folder cannot be read ({error.strerror})")
            return []

    def classes(self, entries: list[os.DirEntry[str]], above: str, split: str | None) -> None:
        """Reads every class folder among `entries`."""
        labels: dict[str, str] = {}
        for entry in entries:
            shown = _join(above, entry.name)
            if self._skipped(entry, shown):
                continue
            if entry.is_symlink():
                self.links.append(_Link(entry.path, shown, "", split))
            elif entry.is_dir(follow_symlinks=False):
                self._class(entry.path, shown, split, labels)
            else:
                self.refuse(entry, above, "not-in-class", "not in a class folder")

    def refuse(self, entry: os.DirEntry[str], above: str, reason: str, message: str) -> None:
        """Lists an entry that lies where no photo is looked for."""
        shown = _join(above, entry.name)
        if not self._skipped(entry, shown):
            self.listing.fault(shown, reason, message)

    def follow_links(self) -> None:
        """Reads the links met on the way, now that all real folders have been read."""
        pending = deque(self.links)
        self.links.clear()
        while pending:
            link = pending.popleft()
            target = self._target(link)
            if target is None:
                continue
            if target.is_dir() and link.label:
                self._photos(str(target), link.shown, link.label, link.split)
            elif target.is_dir():
                self._class(str(target), link.shown, link.split, {})
            elif link.label:
                self._file(Candidate(link.shown, link.label, self.real_root, link.split), target.is_file())
            else:
                self.listing.fault(link.shown, "not-in-class", "not in a class folder")
            pending.extend(self.links)
            self.links.clear()

    def _class(self, folder: str, shown: str, split: str | None, beside: dict[str, str]) -> None:
        name = PurePosixPath(shown).name
        label = class_label(name, shown)
        if label in beside:
            raise alike(beside[label], name)
        beside[label] = name
        self.listing.folders[shown] = label
        self._photos(folder, shown, label, split)

    def _photos(self, folder: str, shown: str, label: str, split: str | None) -> None:
        pending = [(folder, shown)]
        while pending:
            folder, above = pending.pop()
            for entry in self.entries(folder, above):
                shown = _join(above, entry.name)
                if self._skipped(entry, shown):
                    continue
                if entry.is_symlink():
                    self.links.append(_Link(entry.path, shown, label, split))
                elif entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, shown))
                else:
                    regular = entry.is_file(follow_symlinks=False)
                    self._file(Candidate(shown, label, self.real_root, split), regular)

    def _file(self, candidate: Candidate, regular: bool) -> None:
        if regular:
            self.listing.candidates.append(candidate)
        else:
            self.listing.fault(candidate.path, "not-a-file", "a device, pipe or socket, not a file")

    def _skipped(self, entry: os.DirEntry[str], shown: str) -> bool:
        if entry.name.startswith("."):
            what = "folder, and all in it, is" if entry.is_dir(follow_symlinks=False) else "file is"
            self.listing.fault(shown, "hidden", f"the name starts with a dot: the {what} left out")
            return True
        if not _is_utf8(entry.name):
            self.listing.fault(shown, "bad-name", "the name is not UTF-8: rename it")
            return True
        return False

    def _target(self, link: _Link) -> Path | None:
        """Where a link leads, or None, with a fault, where it is not followed."""
        fault = self.listing.fault
        try:
            target = Path(os.path.realpath(link.path, strict=True))
        except FileNotFoundError:
            fault(link.shown, "link-broken", "a link to something that does not exist")
            return None
        except OSError:
            fault(link.shown, "link-circle", "a link that leads in a circle")
            return None
        if not target.is_relative_to(self.real_root):
            fault(link.shown, "link-outside", "a link that leads out of the folder")
        elif target.is_dir() and Path(os.path.realpath(Path(link.path).parent)).is_relative_to(target):
            fault(link.shown, "link-circle", "a link to a folder that it lies in")
        elif str(target) in self.read:
            fault(link.shown, "link-repeated", "a link to a folder that is read anyway")
        else:
            return target
        return None


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _join(above: str, name: str) -> str:
    return f"{above}/{name}" if above else name
