"""Files that hold many photos: where the name of one ends inside a path, and what a folder of them looks like."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from featherlite.data.listing import Listing, class_label, split_word

__all__ = [
    "COMPRESSED",
    "CONTAINERS",
    "IMAGE_SUFFIXES",
    "NAME_FILES",
    "class_names",
    "containers",
    "given_split",
    "peek",
    "split_virtual",
]

CONTAINERS = (".tar", ".parquet")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip", ".7z", ".rar")
"""Archives without random access, or with none that we read in place."""

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
)

NAME_FILES = ("classes.txt", "class_names.txt", "labels.txt")
PEEK_ENTRIES = 20_000
"""A peek looks at no more entries than this: it must be quick on a million photos."""


def split_virtual(base: str, path: str) -> tuple[str, str] | None:
    """(container file, name inside it) where `path` leads into a container that exists; None for a plain path."""
    folded = path.casefold()
    if ".tar/" not in folded and ".parquet/" not in folded:
        return None
    for found in re.finditer(r"\.(?:tar|parquet)/", path, re.IGNORECASE):
        container = os.path.join(base, path[: found.end() - 1])  # noqa: PTH118
        try:
            regular = stat.S_ISREG(os.stat(container).st_mode)  # noqa: PTH116
        except (OSError, ValueError):
            continue
        if regular:
            return container, path[found.end() :]
    return None


def given_split(path: str) -> str | None:
    """The split that a container's path tells of: by one word of the file's name, else by the nearest folder."""
    *folders, name = path.split("/")
    words = {split_word(word) for word in re.split(r"[^A-Za-z]+", name.partition(".")[0])} - {None}
    if words:
        return words.pop() if len(words) == 1 else None
    return next((split for split in map(split_word, reversed(folders)) if split), None)


def peek(root: Path) -> frozenset[str]:
    """What kinds of file a folder shows at a quick look: any of photos, tar, parquet, compressed.

    Photos count where they lie in two folders below the root, or where there is nothing else: one folder of pictures
    beside containers is an ornament of their page.
    """
    kinds: set[str] = set()
    pictured: set[str] = set()
    seen = 0
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in files:
            seen += 1
            folded = name.casefold()
            if folded.startswith("."):
                continue
            if os.path.splitext(folded)[1] in IMAGE_SUFFIXES:  # noqa: PTH122
                if folder != str(root):
                    pictured.add(folder)
                    if len(pictured) > 1:
                        return frozenset({*kinds, "photos"})
            elif folded.endswith(CONTAINERS):
                kinds.add(folded.rpartition(".")[2])
            elif folded.endswith(COMPRESSED):
                kinds.add("compressed")
        seen += len(below)
        if seen > PEEK_ENTRIES:
            break
    return frozenset(kinds or ({"photos"} if pictured else ()))


def containers(listing: Listing, root: Path, suffix: str) -> Iterator[tuple[str, str]]:
    """(path relative to the root, real file) of every container under a folder, in order; a fault for all else."""
    base = os.path.realpath(root)

    def unreadable(error: OSError) -> None:
        shown = os.path.relpath(str(error.filename), base).replace(os.sep, "/")
        listing.fault(shown, "unreadable", f"the folder cannot be read ({error.strerror})")

    for folder, below, files in os.walk(base, onerror=unreadable):
        for name in below:
            if not name.startswith(".") and os.path.islink(os.path.join(folder, name)):  # noqa: PTH114, PTH118
                listing.fault(_shown(base, folder, name), "link", "a link to a folder is not followed")
        for name in [name for name in below if name.startswith(".")]:
            listing.fault(_shown(base, folder, name), "hidden", "the name starts with a dot: the folder is left out")
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            shown = _shown(base, folder, name)
            fault = _not_taken(folder, name, base, suffix)
            if fault:
                listing.fault(shown, *fault)
            elif name.casefold().endswith(suffix):
                yield shown, os.path.join(folder, name)  # noqa: PTH118


def class_names(root: Path) -> tuple[str, ...]:
    """The names of numbered classes, from classes.txt (line 1 names class 0) beside the containers; else empty.

    Raises:
        DataError: a name is blank or holds control characters.
    """
    for name in NAME_FILES:
        file = root / name
        if file.is_file() and file.stat().st_size < 2**24:
            lines = file.read_text("utf-8-sig", errors="replace").rstrip("\n").split("\n")
            return tuple(class_label(line.strip(), f"{name}, line {number}") for number, line in enumerate(lines, 1))
    return ()


def _shown(base: str, folder: str, name: str) -> str:
    return os.path.relpath(os.path.join(folder, name), base).replace(os.sep, "/")  # noqa: PTH118


def _not_taken(folder: str, name: str, base: str, suffix: str) -> tuple[str, str] | None:
    """(reason, message) where a file is not read as a container."""
    folded = name.casefold()
    if name.startswith("."):
        return "hidden", "the name starts with a dot: the file is left out"
    if folded.endswith(COMPRESSED):
        return "compressed", "a compressed archive has no random access: decompress it to a .tar"
    if not folded.endswith(suffix):
        return None if name in NAME_FILES else ("not-a-container", f"beside the {suffix} files, not one of them")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "bad-name", "the name is not UTF-8: rename it"
    target = Path(os.path.realpath(os.path.join(folder, name)))  # noqa: PTH118
    if not target.is_relative_to(base):
        return "link-outside", "a link that leads out of the folder"
    if not target.is_file():
        return (
            ("not-a-file", "a device, pipe or socket, not a file")
            if target.exists()
            else ("link-broken", "a broken link")
        )
    return None
