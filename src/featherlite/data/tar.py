"""The members of an uncompressed tar, by header and offset: nothing is unpacked, and no claim is believed.

The headers are read by the standard library's parser; the walk from one to the next is here, so that a hostile archive
can neither fill the memory (by a long name of gigabytes) nor send us in circles (by a negative size).
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["BLOCK", "MAX_HEADER", "Member", "TarDamagedError", "member_fault", "walk_tar"]

BLOCK: Final = 512
MAX_HEADER: Final = 2**20
"""No name and no set of extended attributes is longer than this."""

MAX_ZEROS: Final = 2**20
"""How far behind an end mark another tar is looked for; tars are filled up by far fewer zeros."""

KINDS = {
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "device",
    tarfile.GNUTYPE_SPARSE: "sparse",
    tarfile.DIRTYPE: "folder",
}
WITHOUT_BYTES = frozenset(KINDS) - {tarfile.GNUTYPE_SPARSE}
"""Nothing is stored for these, whatever size their header claims."""


class TarDamagedError(Exception):
    """The archive ends early, or is no longer one from here on; what came before is whole."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name as stored, its kind (file, folder, link, device, sparse), where its bytes lie."""

    name: str
    kind: str
    offset: int
    size: int


def walk_tar(descriptor: int) -> Iterator[Member]:
    """Every member of an open tar file, in order.

    Raises:
        TarDamagedError: cut short, or not a tar (from some place on).
    """
    total = os.fstat(descriptor).st_size
    if os.pread(descriptor, 2, 0) == b"\x1f\x8b":
        raise TarDamagedError("compressed", "a gzip file under the name of a tar: decompress it")
    place, extended = 0, _Extended()
    while place < total:
        info, place, sparse = _header(descriptor, place)
        if info is None:  # the end mark, but tars may be joined: what follows the zeros, if anything, is one more
            zeros = os.pread(descriptor, MAX_ZEROS, place)
            behind = len(zeros) - len(zeros.lstrip(b"\0"))
            if behind == len(zeros):
                return
            place += behind // BLOCK * BLOCK
            continue
        size = extended.size if extended.size is not None else info.size
        if size < 0:
            raise TarDamagedError("damaged", f"a header at byte {place - BLOCK} claims a negative size")
        stored = 0 if info.type in WITHOUT_BYTES else size
        if place + stored > total:
            name = extended.name or info.name
            raise TarDamagedError("truncated", f"it ends within '{name}': {place + stored - total} bytes are missing")
        if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            extended.take(info.type, _limited(descriptor, place, stored))
        elif info.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            kind = "sparse" if sparse or extended.sparse else KINDS.get(info.type, "file")
            yield Member(extended.name or info.name, kind, place, stored)
            extended = _Extended()
        place += -(-stored // BLOCK) * BLOCK
    raise TarDamagedError("truncated", "it has no end mark: it may have been cut short")


def member_fault(name: str) -> tuple[str, str] | None:
    """(reason, message) where a member's name is not one that a photo may have; nothing is ever written by it."""
    parts = name.removeprefix("./").split("/")
    if name.startswith(("/", "\\")) or name[1:3] in (":/", ":\\"):
        return "climbs-out", "the member's name is an absolute path"
    if ".." in parts:
        return "climbs-out", "the member's name climbs out by '..'"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "bad-name", "the member's name is not UTF-8"
    if any(ord(sign) < 32 for sign in name) or "" in parts or "." in parts:
        return "bad-name", "the member's name holds control characters or empty parts"
    if any(part.startswith(".") for part in parts):
        return "hidden", "the name starts with a dot: the member is left out"
    return None


@dataclass
class _Extended:
    """What extended headers said about the member that follows them."""

    name: str = ""
    size: int | None = None
    sparse: bool = False

    def take(self, kind: bytes, content: bytes) -> None:
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.name = content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            return
        place = 0
        while place < len(content) and content[place] != 0:  # by place: cutting off each record would be quadratic
            head, space, _ = content[place : place + 9].partition(b" ")
            if not space or not head.isdigit() or int(head) < len(head) + 3:
                raise TarDamagedError("damaged", "an extended header cannot be understood")
            record = content[place + len(head) + 1 : place + int(head) - 1]
            place += int(head)
            key, _, value = record.partition(b"=")
            if key == b"path":
                self.name = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                if not value.isdigit() or len(value) > 18:
                    raise TarDamagedError("damaged", "an extended header claims a size that is no number")
                self.size = int(value)
            elif key.startswith(b"GNU.sparse"):
                self.sparse = True


def _header(descriptor: int, place: int) -> tuple[tarfile.TarInfo | None, int, bool]:
    """The header at `place`, where its bytes begin, and whether it is a sparse one; None at the end mark."""
    block = os.pread(descriptor, BLOCK, place)
    if len(block) < BLOCK:
        raise TarDamagedError("truncated", "it ends within a header")
    if block.count(0) == BLOCK:
        return None, place, False
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise TarDamagedError("damaged", f"no tar header at byte {place} ({error})") from None
    place += BLOCK
    sparse = info.type == tarfile.GNUTYPE_SPARSE
    more = sparse and block[482] != 0  # the map of a sparse member goes on in blocks of its own
    while more:
        block = os.pread(descriptor, BLOCK, place)
        if len(block) < BLOCK:
            raise TarDamagedError("truncated", "it ends within a header")
        place, more = place + BLOCK, block[504] != 0
    return info, place, sparse


def _limited(descriptor: int, place: int, size: int) -> bytes:
    if size > MAX_HEADER:
        raise TarDamagedError("damaged", f"an extended header of {size} bytes; at most {MAX_HEADER} allowed")
    return os.pread(descriptor, size, place)
