"""Where photos come from, one file a layout.

A layout is a module here with a PRIORITY, `recognizes(root) -> bool` and `listing(root) -> Listing`. It is found by
name; the lowest priority that recognizes a root reads it.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from featherlite.data.listing import LAYOUT_HINT, Listing, refuse_alike
from featherlite.errors import DataError

__all__ = ["Source", "listing_of", "sources"]


class Source(Protocol):
    """A layout's module."""

    PRIORITY: int

    def recognizes(self, root: Path) -> bool:
        """Whether photos lie under `root` in this layout; quick, and never an error."""

    def listing(self, root: Path) -> Listing:
        """All candidates and faults."""


@cache
def sources() -> tuple[Source, ...]:
    """The layouts, in the order in which they are asked."""
    names = sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(cast(Source, module) for module in sorted(modules, key=lambda module: module.PRIORITY))


def listing_of(root: Path, *, strict: bool = True) -> Listing:
    """What a root (a folder, a table, a container) claims to hold; no photo is opened.

    Raises:
        DataError: no such root; empty; of no known layout; where strict, class names that cannot be told apart.
    """
    try:
        is_file, exists = root.is_file(), root.exists()
    except (OSError, ValueError) as error:
        raise DataError(f"{root} cannot be read: {error}.", "Check its name and permissions.") from None
    if not exists:
        raise DataError(f"{root}: no such folder or file.", LAYOUT_HINT)
    source = next((source for source in sources() if source.recognizes(root)), None)
    if source is None:
        what = "a file, and not a .csv, .parquet or .tar" if is_file else "neither a folder nor a file"
        raise DataError(f"{root} is {what}.", LAYOUT_HINT)
    found = source.listing(root)
    if strict:
        refuse_alike({*found.folders.values(), *(candidate.label for candidate in found.candidates)})
    return found
