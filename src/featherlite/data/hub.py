"""Data sets of the Hugging Face hub by name: `hub:owner/name` or `hub:owner/name@revision` in place of a folder.

Parquet files are fetched where there are any, else photos. A set lies under the cache in a folder named by its commit;
until it is whole, that folder bears another name, so nothing half-written is ever used. What is whole needs no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from featherlite.bundle import storage_guard, write_atomically
from featherlite.data.containers import IMAGE_SUFFIXES, NAME_FILES
from featherlite.data.tar import member_fault
from featherlite.errors import DataError, MissingExtraError, RequestError, StorageError
from featherlite.hub import COMMIT, HubError, HubFile, Repository, ask, endpoint, fetch_file
from featherlite.step import Progress, Silent

__all__ = ["HubPlan", "HubSet", "fetch_plan", "hub_plan", "hub_set", "resolve"]

log = logging.getLogger("featherlite")

PREFIX = "hub:"
NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@(.+))?")
TIMEOUT_S = 20.0
"""For how long the hub may be silent."""
HINT = (
    "Check the network and HF_ENDPOINT, then run the same command again: it goes on where it stopped. A set that was"
    " fetched whole before is used without a network."
)


@dataclass(frozen=True)
class HubSet:
    """A set by name, at a branch, tag or commit."""

    name: str
    revision: str = "main"


@dataclass(frozen=True)
class HubPlan:
    """What fetching a set means: the commit, the files, the licence that its card states."""

    wanted: HubSet
    commit: str
    files: tuple[HubFile, ...]
    licence: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def hub_set(root: Path) -> HubSet | None:
    """The set that `root` names, or None for a path; what exists as a path is one.

    Raises:
        RequestError: it begins with 'hub:' and is no name of a set.
    """
    text = str(root)
    if not text.startswith(PREFIX) or root.exists():
        return None
    found = NAME.fullmatch(text)
    if found is None or ".." in text:
        raise RequestError(f"'{text}' names no data set.", "Write hub:owner/name or hub:owner/name@revision.")
    return HubSet(found[1], found[2] or "main")


def resolve(root: Path, cache: Path, progress: Progress | None = None) -> Path:
    """`root` itself, or the folder of the hub's set that it names, fetched first where it is not there yet.

    Raises:
        RequestError: not a name of a set.
        MissingExtraError: the extra 'hub' is not installed.
        DataError: no such set, not reachable and not fetched before, or the hub sent other bytes than it told of.
        StorageError: no room, or not writable.
    """
    wanted = hub_set(Path(root))
    if wanted is None:
        return root
    shelf = cache / "hub" / wanted.name.replace("/", "--")
    note = shelf / "revisions" / quote(wanted.revision, safe="")
    if COMMIT.fullmatch(wanted.revision) and (shelf / wanted.revision).is_dir():
        return shelf / wanted.revision
    try:
        plan = hub_plan(wanted)
    except (DataError, MissingExtraError) as error:
        former = shelf / note.read_text().strip() if note.is_file() else None
        if former is None or not former.is_dir():
            raise
        log.warning("%s Going on with what was fetched before, %s.", error.message, former.name)
        return former
    place = fetch_plan(plan, shelf / plan.commit, progress or Silent())
    with storage_guard(shelf):
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, plan.commit.encode())
    return place


def hub_plan(wanted: HubSet) -> HubPlan:
    """What there is to fetch, as the hub tells it.

    Raises:
        DataError: no such set, not reachable, or it holds neither Parquet files nor photos.
        MissingExtraError: the extra 'hub' is not installed.
    """
    try:
        facts = ask(_repository(wanted))
    except HubError as refusal:
        raise _worded(wanted, refusal) from None
    return HubPlan(wanted, facts.commit, _chosen(wanted, facts.files), facts.license or "unknown")


def fetch_plan(plan: HubPlan, place: Path, progress: Progress) -> Path:
    """`place`, holding all files of the plan, each checked. What a former call left is gone on from.

    Raises:
        DataError: the hub cannot be reached, breaks off again and again, or sends other bytes than it told of.
        StorageError: no room, or not writable.
    """
    draft = place.with_name(f".{place.name}.{plan.commit[:12]}.part")  # what another set left is not gone on from
    with storage_guard(place.parent), _locked(place):
        if place.is_dir():
            return place
        draft.mkdir(parents=True, exist_ok=True)
        free, there = shutil.disk_usage(draft).free, sum(f.stat().st_size for f in draft.rglob("*") if f.is_file())
        if plan.size - there > free:
            raise StorageError(f"{draft} has {free} bytes free, and {plan.size - there} are needed.", "Make room.")
        progress.start(f"Fetching {plan.wanted.name}", plan.size)
        try:
            for file in plan.files:
                fetch_file(_repository(plan.wanted), plan.commit, file, draft / file.path, _Share(progress))
        except HubError as refusal:
            raise _worded(plan.wanted, refusal) from None
        progress.finish()
        draft.rename(place)
    return place


class _Share(Silent):
    """A progress of one file that only moves on that of all."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def advance(self, units: int = 1, note: str = "") -> None:
        """Moves the whole on."""
        self._whole.advance(units, note)


def _repository(wanted: HubSet) -> Repository:
    return Repository("dataset", wanted.name, wanted.revision, TIMEOUT_S)


def _chosen(wanted: HubSet, files: Sequence[HubFile]) -> tuple[HubFile, ...]:
    """The Parquet files, else the photos; with the names of classes, where a file has them."""
    for file in files:
        fault = member_fault(file.path)
        if fault is not None and fault[0] == "climbs-out":
            raise DataError(f"hub:{wanted.name} holds '{file.path}': {fault[1]}.", "Do not use this set.")
    ending = {file.path: PurePosixPath(file.path).suffix.casefold() for file in files}
    parquet = [file for file in files if ending[file.path] == ".parquet"]
    photos = [file for file in files if ending[file.path] in IMAGE_SUFFIXES and "/" in file.path]
    if not parquet and not photos:
        raise DataError(
            f"hub:{wanted.name} holds neither Parquet files nor folders of photos ({len(files)} files).",
            "Fetch it by hand, unpack it, and give the folder.",
        )
    names = [file for file in files if file.path in NAME_FILES]
    return tuple(sorted([*(parquet or photos), *names], key=lambda file: file.path))


def _worded(wanted: HubSet, refusal: HubError) -> DataError:
    """What the hub refuses, in words for a data set."""
    name, hub = wanted.name, endpoint()
    match refusal.cause:
        case "no repository":
            return DataError(f"{hub} knows no data set '{name}'.", "Check its name; private sets need HF_TOKEN.")
        case "no revision" | "no file":
            return DataError(
                f"hub:{name} has no revision '{wanted.revision}', or no such file.", "See its page on the hub."
            )
        case "gated":
            return DataError(f"hub:{name} is gated.", "Agree to its terms on its page, and set HF_TOKEN.")
        case "no hub":
            return DataError(f"{hub} names no commit for {name}: it is no hub.", HINT)
        case "offline":
            return DataError(f"hub:{name} is not fetched: HF_HUB_OFFLINE is set.", "Unset it, or fetch the set before.")
        case "unreachable":
            return DataError(f"hub:{name} cannot be fetched from {hub}: {refusal.why}.", HINT)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Lets one process at a time fetch a set; others wait, and then find it there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f".{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        if place.is_dir():  # whoever waits for the lock, or makes a new one, finds the set there
            Path(lock.name).unlink(missing_ok=True)
