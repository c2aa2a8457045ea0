"""Weights of the Hugging Face hub by name: `hub:owner/name`, `hub:owner/name/file.safetensors`, and `@revision`.

A file lies under the cache in a folder named by its commit, with the config.json of its repository beside it. What was
fetched once needs no network; what is cut off is gone on from; what has another hash than the hub tells is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from featherlite.bundle import storage_guard, write_atomically
from featherlite.errors import RequestError
from featherlite.hub import COMMIT, Facts, HubError, HubFile, Repository, ask, endpoint, fetch_file, library
from featherlite.models.weights.namings.naming import Layout, layout_told
from featherlite.models.weights.source import TORCH, HubWeights, config_beside
from featherlite.step import Progress, Silent

__all__ = ["Fetched", "UnreachableError", "fetch_weights"]

CONFIG = "config.json"
HINT = (
    "Check the network and HF_ENDPOINT, then run the same command again: it goes on where it stopped. Weights that were"
    " fetched before are used without a network."
)


class UnreachableError(RequestError):
    """The hub could not be reached, and the weights were not fetched before."""


@dataclass(frozen=True)
class Fetched:
    """A file of weights that was fetched, its commit, and the layout, where the name of its repository tells that."""

    path: Path
    commit: str
    layout: Layout | None = None


def fetch_weights(wanted: HubWeights, cache: Path, progress: Progress | None = None) -> Fetched:
    """The file that is wanted, fetched first where it is not there yet.

    Raises:
        MissingExtraError: the extra 'hub' is not installed.
        UnreachableError: the hub cannot be reached, and the file was not fetched before.
        RequestError: no such repository, revision or file, or the hub sent other bytes than it told of.
        StorageError: no room, or not writable.
    """
    shelf = cache / "weights" / wanted.name.replace("/", "--")
    note = shelf / "revisions" / quote(wanted.revision, safe="")
    if COMMIT.fullmatch(wanted.revision) and (shelf / wanted.revision / wanted.file).is_file():
        return _found(wanted, shelf, wanted.revision)
    try:
        facts = _told(wanted)
    except UnreachableError:
        commit = note.read_text().strip() if note.is_file() else ""
        if COMMIT.fullmatch(commit) and (shelf / commit / wanted.file).is_file():
            return _found(wanted, shelf, commit)
        raise
    files = {file.path: file for file in facts.files}
    if wanted.file not in files:
        raise _lacking(wanted, files)
    path = PurePosixPath(wanted.file)
    config = path.with_name(CONFIG).as_posix()
    with storage_guard(shelf):
        # The description first: where the weights lie, it is known what they expect.
        if path.suffix in TORCH and config in files:
            _fetch(wanted, facts.commit, files[config], shelf, Silent())
        _fetch(wanted, facts.commit, files[wanted.file], shelf, progress or Silent())
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, facts.commit.encode())
    return _found(wanted, shelf, facts.commit)


def _found(wanted: HubWeights, shelf: Path, commit: str) -> Fetched:
    """A file that is there. Where timm's config.json is, that tells the layout; else 'tf_' in the name does."""
    path = shelf / commit / wanted.file
    converted = config_beside(path) is None and layout_told(f"{wanted.name}/{wanted.file}") == "tensorflow"
    return Fetched(path, commit, "tensorflow" if converted else None)


def _repository(wanted: HubWeights) -> Repository:
    return Repository("model", wanted.name, wanted.revision)


def _told(wanted: HubWeights) -> Facts:
    library("model")  # without it nothing is fetched, whether HF_HUB_OFFLINE is set or not
    try:
        return ask(_repository(wanted))
    except HubError as refusal:
        raise _worded(wanted, refusal) from None


def _lacking(wanted: HubWeights, files: Iterable[str]) -> RequestError:
    """The refusal of a file that the repository lacks, naming those that can be read."""
    able = sorted(name for name in files if name.endswith((*TORCH, ".h5", ".keras")))
    if able:
        hint = f"It has {', '.join(able[:5])}: write hub:{wanted.name}/FILE."
    else:
        hint = "It has no file of weights that is no pickle. Look for a repository with safetensors."
    return RequestError(f"weights: hub:{wanted.name} has no file '{wanted.file}' at '{wanted.revision}'.", hint)


def _fetch(wanted: HubWeights, commit: str, file: HubFile, shelf: Path, progress: Progress) -> None:
    try:
        fetch_file(_repository(wanted), commit, file, shelf / commit / file.path, progress)
    except HubError as refusal:
        raise _worded(replace(wanted, file=file.path), refusal) from None


def _worded(wanted: HubWeights, refusal: HubError) -> RequestError:
    """What the hub refuses, in words for weights."""
    name, hub, see = f"weights: hub:{wanted.name}", endpoint(), "See its page on the hub."
    match refusal.cause:
        case "no repository":
            return RequestError(
                f"weights: {hub} knows no repository '{wanted.name}'.", "Check its name; private ones need HF_TOKEN."
            )
        case "no revision":
            return RequestError(f"{name} has no revision '{wanted.revision}'.", see)
        case "no file":
            return RequestError(f"{name} has no file '{wanted.file}'.", see)
        case "gated":
            return RequestError(f"{name} is gated.", "Agree to its terms on its page, and set HF_TOKEN.")
        case "no hub":
            return RequestError(f"weights: {hub} names no commit for {wanted.name}: it is no hub.", HINT)
        case "offline":
            return UnreachableError(f"{name} is not fetched: HF_HUB_OFFLINE is set.", "Unset it, or fetch them before.")
        case "unreachable":
            return UnreachableError(f"{name} cannot be fetched from {hub}: {refusal.why}.", HINT)
