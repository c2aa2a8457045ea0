"""An archive unpacked into a new folder, as a stranger's archive must be: nothing climbs out, links, or swells.

All goes into a folder under a temporary name, which takes its own name at the end.
"""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from featherlite.bundle import storage_guard
from featherlite.data.tar import MAX_HEADER, member_fault
from featherlite.errors import DataError

__all__ = ["unpack"]

SWELLS = 20
"""Photos hardly shrink by packing: an archive that unpacks to more than this many times its size, and to more than
SLACK_BYTES, is a bomb."""
SLACK_BYTES = 2**28
MAX_FILES = 5_000_000
CHUNK = 2**20
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)

Entry = tuple[str, IO[bytes]]


def unpack(archive: Path, target: Path, inner: tuple[str, ...] = (), only: str = "") -> Path:
    """The folder `target` with the files of a tar (plain or compressed) or zip.

    `inner` are archives in it to unpack too; `only` is a regular expression that names must match to be taken. Links,
    devices and hidden files are left out.

    Raises:
        DataError: it climbs out, swells, is damaged or encrypted, or is no archive; or `target` exists.
        StorageError: no room, or not writable.
    """
    if target.exists():
        raise DataError(f"{target} exists already.", "Give another --out, or remove it.")
    with storage_guard(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        try:
            _fill(archive, draft, only)
            for name in inner:
                within = draft / name
                if within.is_file():
                    _fill(within, within.parent)
                    within.unlink()
            draft.chmod(0o755)
            draft.rename(target)
        finally:
            if draft.exists():
                shutil.rmtree(draft, ignore_errors=True)
    return target


def _fill(archive: Path, folder: Path, only: str = "") -> None:
    left = max(SWELLS * archive.stat().st_size, SLACK_BYTES)
    files = 0
    try:
        for name, stream in _entries(archive):
            if only and not re.fullmatch(only, name):
                continue
            files += 1
            if files > MAX_FILES:
                raise DataError(f"{archive} holds more than {MAX_FILES} files.", "It is not unpacked.")
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with stream, suppress(FileExistsError), file.open("xb") as out:
                while block := stream.read(CHUNK):
                    left -= len(block)
                    if left < 0:
                        raise DataError(
                            f"{archive} unpacks to more than {SWELLS} times its size: a bomb, not photos.",
                            "It is not unpacked. Fetch it from its home page.",
                        )
                    out.write(block)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        ValueError,
    ) as e:
        why = str(e) or type(e).__name__
        raise DataError(f"{archive} cannot be unpacked: {why}.", "Fetch it again.") from None


class _Header(tarfile.TarInfo):
    """A header that does not let the parser read a name of gigabytes into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in EXTENDED and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes; at most {MAX_HEADER} allowed")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def _entries(archive: Path) -> Iterator[Entry]:
    """(safe relative name, content) of every regular file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                plain = stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
                if not entry.is_dir() and plain and _taken(archive, entry.filename):
                    yield entry.filename.removeprefix("./"), packed.open(entry)
    else:
        with tarfile.open(archive, "r|*", tarinfo=_Header) as stream:
            for member in stream:
                if member.isreg() and not member.issparse() and _taken(archive, member.name):
                    content = stream.extractfile(member)
                    if content is not None:
                        yield member.name.removeprefix("./"), content
                stream.members = []  # type: ignore[attr-defined]  # else a million members stay in memory


def _taken(archive: Path, name: str) -> bool:
    fault = member_fault(name.removeprefix("./"))
    if fault is not None and fault[0] == "climbs-out":
        raise DataError(f"{archive} holds '{name}': {fault[1]}.", "It is not unpacked. Fetch it from its home page.")
    return fault is None
