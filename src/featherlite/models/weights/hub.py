"""Weights of the Hugging Face hub by name: `hub:owner/name`, `hub:owner/name/file.safetensors`, and `@revision`.

A file lies under the cache in a folder named by its commit, with the config.json of its repository beside it. What was
fetched once needs no network; what is cut off is gone on from; what has another hash than the hub tells is deleted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from featherlite.bundle import storage_guard, write_atomically
from featherlite.download import Remote, download
from featherlite.errors import MissingExtraError, RequestError
from featherlite.models.weights.namings.naming import Layout, layout_told
from featherlite.models.weights.source import COMMIT, TORCH, HubWeights, config_beside
from featherlite.step import Progress, Silent

__all__ = ["Fetched", "UnreachableError", "fetch_weights"]

ENDPOINT = "https://huggingface.co"
TIMEOUT_S = 20.0
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


@dataclass(frozen=True)
class _Repository:
    """What the hub tells of a repository: its commit, and size and digest of each of its files."""

    commit: str
    files: Mapping[str, tuple[int, str]]


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
        repository = _told(wanted)
    except UnreachableError:
        commit = note.read_text().strip() if note.is_file() else ""
        if COMMIT.fullmatch(commit) and (shelf / commit / wanted.file).is_file():
            return _found(wanted, shelf, commit)
        raise
    place = shelf / repository.commit / wanted.file
    _refuse_absent(wanted, repository)
    config = place.with_name(CONFIG).relative_to(shelf / repository.commit).as_posix()
    with storage_guard(shelf):
        # The description first: where the weights lie, it is known what they expect.
        if place.suffix in TORCH and config in repository.files:
            _fetch(replace(wanted, file=config), repository, shelf, Silent())
        _fetch(wanted, repository, shelf, progress or Silent())
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, repository.commit.encode())
    return _found(wanted, shelf, repository.commit)


def _found(wanted: HubWeights, shelf: Path, commit: str) -> Fetched:
    """A file that is there. Where timm's config.json is, that tells the layout; else 'tf_' in the name does."""
    path = shelf / commit / wanted.file
    converted = config_beside(path) is None and layout_told(f"{wanted.name}/{wanted.file}") == "tensorflow"
    return Fetched(path, commit, "tensorflow" if converted else None)


def _told(wanted: HubWeights) -> _Repository:
    """What the hub tells of the repository at the wanted revision."""
    hub = _library()
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UnreachableError(
            f"weights: hub:{wanted.name} is not fetched: HF_HUB_OFFLINE is set.", "Unset it, or fetch them before."
        )
    try:
        facts = hub.HfApi(endpoint=_endpoint()).model_info(
            wanted.name, revision=wanted.revision, files_metadata=True, timeout=TIMEOUT_S
        )
    except Exception as error:  # the library's own, its HTTP library's (which changes between versions), or the disk's
        raise _refusal(wanted, error) from None
    commit = str(facts.sha or "")
    if not COMMIT.fullmatch(commit):
        raise RequestError(f"weights: {_endpoint()} names no commit for {wanted.name}: it is no hub.", HINT)
    return _Repository(commit, {str(entry.rfilename): _facts(entry) for entry in facts.siblings or []})


def _facts(entry: Any) -> tuple[int, str]:
    """Size and digest of a file, as the hub tells them; a large file has a sha256, a small one its id in git."""
    if entry.lfs is not None and entry.lfs.sha256:
        return int(entry.size or 0), f"sha256:{entry.lfs.sha256}"
    return int(entry.size or 0), f"git:{entry.blob_id}" if entry.blob_id else ""


def _refuse_absent(wanted: HubWeights, repository: _Repository) -> None:
    """Refuses a file that the repository lacks, naming those that can be read.

    Raises:
        RequestError: it lacks it.
    """
    if wanted.file in repository.files:
        return
    able = sorted(name for name in repository.files if name.endswith((*TORCH, ".h5", ".keras")))
    if able:
        hint = f"It has {', '.join(able[:5])}: write hub:{wanted.name}/FILE."
    else:
        hint = "It has no file of weights that is no pickle. Look for a repository with safetensors."
    raise RequestError(f"weights: hub:{wanted.name} has no file '{wanted.file}' at '{wanted.revision}'.", hint)


def _fetch(wanted: HubWeights, repository: _Repository, shelf: Path, progress: Progress) -> None:
    """Fetches one file. The hub says where it lies; the token goes to the hub and to nobody else."""
    place = shelf / repository.commit / wanted.file
    if place.is_file():
        return
    hub = _library()
    url = hub.hf_hub_url(wanted.name, wanted.file, revision=repository.commit, endpoint=_endpoint())
    try:
        address = str(hub.get_hf_file_metadata(url, timeout=TIMEOUT_S, endpoint=_endpoint()).location)
    except Exception as error:
        raise _refusal(wanted, error) from None
    headers = hub.utils.build_hf_headers() if urlsplit(address).netloc == urlsplit(_endpoint()).netloc else {}
    size, digest = repository.files[wanted.file]
    identity = f"{wanted.name}@{repository.commit}/{wanted.file}"
    download(Remote(address, size, digest, identity, headers), place, progress, timeout_s=TIMEOUT_S)


def _refusal(wanted: HubWeights, error: Exception) -> RequestError:
    """The error of the hub, or of the way there, in our words."""
    name, hub = f"hub:{wanted.name}", _endpoint()
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "RevisionNotFoundError" in kinds:
        return RequestError(f"weights: {name} has no revision '{wanted.revision}'.", "See its page on the hub.")
    if "EntryNotFoundError" in kinds:
        return RequestError(f"weights: {name} has no file '{wanted.file}'.", "See its page on the hub.")
    if "GatedRepoError" in kinds:
        return RequestError(f"weights: {name} is gated.", "Agree to its terms on its page, and set HF_TOKEN.")
    if kinds & {"RepositoryNotFoundError", "HFValidationError"}:
        return RequestError(
            f"weights: {hub} knows no repository '{wanted.name}'.", "Check its name; private ones need HF_TOKEN."
        )
    if isinstance(error, OSError) and error.errno is not None and "ConnectionError" not in kinds:
        raise error
    why = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    return UnreachableError(f"weights: {name} cannot be fetched from {hub}: {why}.", HINT)


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("hub", "Fetching weights of the Hugging Face hub") from None
    return huggingface_hub
