"""The table of known sets (known_sets.toml), and fetching one of them: download, check, unpack, make readable."""

from __future__ import annotations

import csv
import re
import shutil
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from featherlite.bundle import storage_guard
from featherlite.data.unpack import unpack
from featherlite.download import Remote, download
from featherlite.errors import DataError, RequestError, did_you_mean
from featherlite.step import Progress

__all__ = ["KnownFile", "KnownSet", "fetch_known", "known_set", "known_sets", "make_readable"]

TABLE = "photos.csv"


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnownFile(_Fact):
    """One archive of a set."""

    url: str
    bytes: int | None = None
    digest: str = ""


class KnownSet(_Fact):
    """What is known about a set; None and empty where it is not."""

    name: str
    title: str
    home: str
    licence: str
    licence_note: str = ""
    photos: int | None = None
    classes: int | None = None
    bytes: int | None = None
    layout: str
    reader: Literal["folders", "name", "lists", ""] = ""
    root: str = ""
    inner: tuple[str, ...] = ()
    only: str = ""
    faults: tuple[str, ...] = ()
    files: tuple[KnownFile, ...] = ()
    by_hand: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether it can be fetched and read without a hand."""
        return bool(self.files) and not self.by_hand


@cache
def known_sets() -> dict[str, KnownSet]:
    """All known sets by name, in the order of the table."""
    table = tomllib.loads((Path(__file__).parent / "known_sets.toml").read_text("utf-8"))
    return {name: KnownSet(name=name, **facts) for name, facts in table.items()}


def known_set(name: str) -> KnownSet:
    """The set of this name, in any case.

    Raises:
        RequestError: there is none; the nearest is named.
    """
    found = known_sets().get(name.casefold())
    if found is None:
        raise RequestError(f"There is no known set '{name}'.", did_you_mean(name, known_sets()))
    return found


def fetch_known(known: KnownSet, out: Path, progress: Progress, given: Path | None = None) -> Path:
    """Fetches a set into the new folder `out`; what to give as --data comes out.

    `given` is an archive that was downloaded by hand. Archives lie beside `out` until all is done.

    Raises:
        RequestError: the set cannot be fetched without a hand.
        DataError: not reachable, not the right file, not a safe archive, or `out` exists.
        StorageError: no room, or not writable.
    """
    if given is None and not known.fetchable:
        raise RequestError(f"'{known.name}' cannot be fetched for you.", known.by_hand or f"See {known.home}.")
    if out.exists():
        raise DataError(f"{out} exists already.", "Give another --out, or remove it.")
    if given is not None and not given.is_file():
        raise RequestError(f"{given}: no such file.", known.by_hand)
    archives: list[Path] = [] if given is None else [given]
    for file in known.files if given is None else ():
        name = file.url.partition("?")[0].rpartition("/")[2]
        target = out.with_name(f".{out.name}.{name}")
        archives.append(download(Remote(file.url, file.bytes, file.digest), target, progress))
    draft = out.with_name(f".{out.name}.{uuid4().hex[:8]}.tmp")
    try:
        progress.start("Unpacking", len(archives))
        for archive in archives:
            unpack(archive, draft, known.inner, known.only)
            progress.advance()
        progress.finish()
        make_readable(known, draft)
        with storage_guard(out.parent):
            draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if given is None:
        for archive in archives:
            archive.unlink(missing_ok=True)
    return out / place if (place := _place(known)) else out


def make_readable(known: KnownSet, folder: Path) -> None:
    """Writes photos.csv into an unpacked set whose classes do not stand in folders.

    Raises:
        DataError: the folder does not hold what the set should.
    """
    root = folder / known.root
    if not root.is_dir():
        raise DataError(f"The archive holds no folder '{known.root}'.", f"It may have changed: see {known.home}.")
    rows: list[tuple[str, str, str]] = []
    if known.reader == "name":
        for file in sorted(root.iterdir()):
            found = re.fullmatch(r"(.+)_\d+\.\w+", file.name)
            if found:
                rows.append((file.relative_to(folder).as_posix(), found[1], ""))
    elif known.reader == "lists":
        rows = _from_lists(root, known)
    else:
        return
    if not rows:
        raise DataError(f"No photo was found in '{known.root}'.", f"It may have changed: see {known.home}.")
    with storage_guard(folder), (folder / TABLE).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "split"))
        writer.writerows(rows)


def _place(known: KnownSet) -> str:
    return TABLE if known.reader in ("name", "lists") else known.root


def _from_lists(root: Path, known: KnownSet) -> list[tuple[str, str, str]]:
    """(path, class, split) from images.txt, image_class_labels.txt, classes.txt and train_test_split.txt."""
    try:
        images, classes, of_image, train = (
            dict(
                line.split(maxsplit=1)
                for line in (root / f"{name}.txt").read_text("utf-8").splitlines()
                if line.strip()
            )
            for name in ("images", "classes", "image_class_labels", "train_test_split")
        )
        return [
            (
                f"{known.root}/images/{path.strip()}",
                re.sub(r"^\d+\.", "", classes[of_image[number].strip()].strip()).replace("_", " "),
                "train" if train[number].strip() == "1" else "test",
            )
            for number, path in images.items()
        ]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"The lists of '{known.root}' cannot be understood: {error}.", f"It may have changed: see {known.home}."
        ) from None
