"""The Hugging Face hub: what it tells of a repository, a file of it, and why it gives neither.

HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE hold here as in the hub's own library. Whoever asks puts a `HubError` into
words, for it is they who know what was asked for.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from featherlite.download import Remote, download
from featherlite.errors import MissingExtraError
from featherlite.step import Progress

__all__ = ["COMMIT", "Facts", "HubError", "HubFile", "Repository", "ask", "endpoint", "fetch_file", "library"]

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A revision that never changes."""

Kind = Literal["dataset", "model"]
Cause = Literal["no repository", "no revision", "no file", "gated", "no hub", "offline", "unreachable"]
KINDS: dict[Kind, str] = {"dataset": "a data set", "model": "weights"}
CAUSES: dict[str, Cause] = {
    "RevisionNotFoundError": "no revision",
    "EntryNotFoundError": "no file",
    "GatedRepoError": "gated",  # before RepositoryNotFoundError, of which it is a kind
    "RepositoryNotFoundError": "no repository",
    "HFValidationError": "no repository",
}
"""The library's errors by name, for where they lie changes between versions."""


class HubError(Exception):
    """What the hub refuses, or why it cannot be asked; never shown as it is.

    The cause "no hub" is a server that answers as no hub does; `why` is the reason why a hub is unreachable.
    """

    def __init__(self, cause: Cause, why: str = "") -> None:
        super().__init__(f"{cause}: {why}" if why else cause)
        self.cause: Cause = cause
        self.why = why


@dataclass(frozen=True)
class Repository:
    """A repository by name at a branch, tag or commit, and for how long its hub may be silent."""

    kind: Kind
    name: str
    revision: str
    timeout_s: float = 20.0


@dataclass(frozen=True)
class HubFile:
    """A file of a repository; `size` in bytes, `digest` is sha256:HEX or git:HEX, or empty where the hub tells none."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Facts:
    """What the hub tells of a repository: the commit, its files, the license that its card states ('' for none)."""

    commit: str
    files: tuple[HubFile, ...]
    license: str


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def library(kind: Kind) -> Any:
    """The hub's own library.

    Raises:
        MissingExtraError: the extra 'hub' is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("hub", f"Fetching {KINDS[kind]} of the Hugging Face hub") from None
    return huggingface_hub


def ask(repository: Repository) -> Facts:
    """What the hub tells of the repository.

    Raises:
        HubError: it tells nothing, or is not asked because HF_HUB_OFFLINE is set.
        MissingExtraError: the extra 'hub' is not installed.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise HubError("offline")
    hub = library(repository.kind)
    asked = {"repo_type": repository.kind, "revision": repository.revision, "timeout": repository.timeout_s}
    try:
        told = hub.HfApi(endpoint=endpoint()).repo_info(repository.name, files_metadata=True, **asked)
    except Exception as error:  # the library's own, its HTTP library's (which changes between versions), or the disk's
        raise _caused(error) from None
    commit = str(told.sha or "")
    if not COMMIT.fullmatch(commit):
        raise HubError("no hub")
    files = tuple(_file(entry) for entry in told.siblings or [])
    return Facts(commit, files, str(getattr(told.card_data, "license", None) or ""))


def fetch_file(repository: Repository, commit: str, file: HubFile, target: Path, progress: Progress) -> None:
    """Leaves one file at `target`, checked; what is there already is not asked for.

    The hub says where the file lies; the token goes to the hub and to nobody else.

    Raises:
        HubError: the hub does not say where.
        DataError: it cannot be fetched from there, or is another file than the hub told of.
        StorageError: no room, or not writable.
        MissingExtraError: the extra 'hub' is not installed.
    """
    if target.is_file():
        return
    hub = library(repository.kind)
    name, address = repository.name, endpoint()
    page = hub.hf_hub_url(name, file.path, repo_type=repository.kind, revision=commit, endpoint=address)
    try:
        url = str(hub.get_hf_file_metadata(page, timeout=repository.timeout_s, endpoint=address).location)
    except Exception as error:
        raise _caused(error) from None
    headers = hub.utils.build_hf_headers() if urlsplit(url).netloc == urlsplit(address).netloc else {}
    remote = Remote(url, file.size, file.digest, f"{name}@{commit}/{file.path}", headers)
    download(remote, target, progress, timeout_s=repository.timeout_s)


def _file(entry: Any) -> HubFile:
    """A large file has a sha256, a small one its id in git."""
    sha256 = entry.lfs.sha256 if entry.lfs is not None else ""
    digest = f"sha256:{sha256}" if sha256 else f"git:{entry.blob_id}" if entry.blob_id else ""
    return HubFile(str(entry.rfilename), int(entry.size or 0), digest)


def _caused(error: Exception) -> HubError:
    """The error of the hub, or of the way there, by its cause; one of the disk is raised as it is."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    for kind, cause in CAUSES.items():
        if kind in kinds:
            return HubError(cause)
    if isinstance(error, OSError) and error.errno is not None and "ConnectionError" not in kinds:
        raise error
    return HubError("unreachable", str(error).strip().partition("\n")[0][:200] or type(error).__name__)
