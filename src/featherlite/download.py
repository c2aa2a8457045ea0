"""A file fetched from an address: resumed where it was cut off, checked at the end, never half there.

The bytes grow in NAME.part, beside NAME.part.json, which says what they are the beginning of. Only a whole file with
the right checksum takes the final name.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from featherlite.bundle import storage_guard
from featherlite.errors import DataError, StorageError
from featherlite.step import Progress

__all__ = ["Remote", "download"]

CHUNK = 2**18
ATTEMPTS = 5
TIMEOUT_S = 30.0
AGAIN = "Run the same command again: it goes on where it stopped."


@dataclass(frozen=True)
class Remote:
    """A file on the net; `digest` is sha256:HEX, md5:HEX or git:HEX, as its publisher tells it; `size` in bytes.

    `identity` says what the file is where its address changes from call to call, as a signed one does.
    """

    url: str
    size: int | None = None
    digest: str = ""
    identity: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def download(
    remote: Remote, target: Path, progress: Progress, *, attempts: int = ATTEMPTS, timeout_s: float = TIMEOUT_S
) -> Path:
    """The file at `target`, whole and checked; a former download that was cut off is gone on from.

    Raises:
        DataError: not reachable, refused by the server, or not the file that it should be (then it is deleted).
        StorageError: no room, or not writable.
    """
    if not remote.url.startswith(("https://", "http://")):
        raise DataError(f"{remote.url} is not an https address.", "Only https and http are fetched.")
    if target.exists():
        return target
    part = target.with_name(target.name + ".part")
    with storage_guard(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        _refuse_full(target.parent, remote.size, part)
        progress.start(f"Fetching {target.name}", remote.size or 0)
        progress.advance(part.stat().st_size if part.exists() else 0)
        for attempt in range(1, attempts + 1):
            before = part.stat().st_size if part.exists() else 0
            try:
                _fetch(remote, part, progress, timeout_s)
                break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code == 416 and before and attempt < attempts:
                    part.unlink()  # there is nothing behind what we have: it is not the beginning of this file
                    continue
                if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
                    raise DataError(
                        f"{remote.url}: the server answers {error.code} {error.reason}.", "Look at the set's home page."
                    ) from None
                nowhere = isinstance(getattr(error, "reason", None), (socket.gaierror, ConnectionRefusedError))
                if attempt == attempts or (nowhere and not before):
                    why = getattr(error, "reason", None) or error or type(error).__name__
                    raise DataError(f"{remote.url} cannot be fetched: {why}.", AGAIN) from None
                grown = part.exists() and part.stat().st_size > before
                time.sleep(0 if grown else min(0.5 * 2**attempt, 10))
        progress.finish()
        _refuse_other(remote, part)
        part.rename(target)
        _facts(part).unlink(missing_ok=True)
    return target


def _facts(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _fetch(remote: Remote, part: Path, progress: Progress, timeout_s: float) -> None:
    """Adds what is missing to `part`."""
    have = part.stat().st_size if part.exists() else 0
    known = _known(part)
    headers = {"User-Agent": "featherlite", "Accept-Encoding": "identity"}
    request = urllib.request.Request(remote.url, headers=headers)  # noqa: S310  (http and https only)
    for name, value in remote.headers.items():
        request.add_unredirected_header(name, value)  # a token is for this server, and not for where it sends us
    same = have > 0 and known.get("url") == (remote.identity or remote.url)
    resumes = same and bool(known.get("validator") or remote.digest)  # a digest shows in the end whether it fits
    if resumes and have == known.get("size"):
        return
    if resumes:
        request.add_header("Range", f"bytes={have}-")
        if known.get("validator"):
            request.add_header("If-Range", str(known["validator"]))
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException("the server sent another part than the one asked for")
        begins = have if answer.status == 206 else 0
        total = _total(answer.headers, begins)
        if remote.size is not None and total is not None and total != remote.size:
            raise DataError(
                f"{remote.url} has {total} bytes, and {remote.size} were expected.",
                "The set has changed at its source. Fetch it by hand, and look at what changed.",
            )
        if not begins:
            strong = [answer.headers.get(name) or "" for name in ("ETag", "Last-Modified")]
            validator = next((value for value in strong if value and not value.startswith("W/")), "")
            _facts(part).write_text(
                json.dumps({"url": remote.identity or remote.url, "validator": validator, "size": total})
            )
        with part.open("r+b" if begins else "wb") as stream:
            stream.seek(begins)
            _copy(answer, stream, progress, begins, total if total is not None else remote.size)
            os.fsync(stream.fileno())


def _copy(answer: Any, stream: BinaryIO, progress: Progress, done: int, total: int | None) -> None:
    while block := answer.read(CHUNK):
        done += len(block)
        if total is not None and done > total:
            raise DataError("The server sends more bytes than it said.", "Fetch the file by hand.")
        stream.write(block)
        progress.advance(len(block))
    if total is not None and done < total:
        raise ConnectionError(f"the connection broke after {done} of {total} bytes")


def _total(headers: Mapping[str, str], begins: int) -> int | None:
    length = headers.get("Content-Length")
    return begins + int(length) if length is not None and length.isdigit() else None


def _known(part: Path) -> dict[str, Any]:
    try:
        found = json.loads(_facts(part).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_other(remote: Remote, part: Path) -> None:
    """Makes sure that the file is the one that its publisher tells of; else it is deleted."""
    kind, _, expected = remote.digest.partition(":")
    if expected:
        found = _digest(part, kind)
        if found == expected:
            return
        told = f"its {kind} is {found}, and {expected} was expected"
    elif remote.size is None or part.stat().st_size == remote.size:
        return
    else:
        told = f"it has {part.stat().st_size} bytes, and {remote.size} were expected"
    part.unlink()
    _facts(part).unlink(missing_ok=True)
    raise DataError(
        f"{remote.url} is not the file it should be: {told}.", "It was deleted. Try again, or fetch by hand."
    )


def _digest(part: Path, kind: str) -> str:
    with part.open("rb") as stream:
        if kind != "git":
            return hashlib.file_digest(stream, kind).hexdigest()
        found = hashlib.sha1(b"blob %d\0" % part.stat().st_size, usedforsecurity=False)
        while block := stream.read(CHUNK):
            found.update(block)
    return found.hexdigest()


def _refuse_full(folder: Path, size: int | None, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(folder).free
    if size is not None and size - have > free:
        raise StorageError(
            f"{folder} has {free} bytes free, and {size - have} are needed.", "Make room, or choose another."
        )
