"""The bytes of a photo by its path, wherever it lies: a file, a member of a tar, a row of a Parquet file.

Every use of photos goes through here, so that a container behaves as a folder does. Containers stay open and rows stay
decoded for as long as they are likely to be asked for again; memory is bounded.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from featherlite.data.containers import split_virtual
from featherlite.data.parquet import RowPhotos, parquet_errors
from featherlite.data.tar import Member, TarDamagedError, member_fault, walk_tar
from featherlite.errors import DataError

__all__ = ["MAX_BYTES", "PhotoReader", "ReadError"]

MAX_BYTES = 512 * 2**20
"""What is larger than this is no photo; it is not read."""

MAX_OPEN = 4
"""Containers kept open. Threads work on neighbours, so a few serve; each may hold up to 128 MiB of decoded rows."""

HINTS = {
    "missing": "Give the folder that was read before as --data, or run the step again on this one.",
    "changed": "Leave the photos alone while they are read, and run the command again.",
    "too-large": "Remove it, or give a smaller version of it.",
}


class ReadError(DataError):
    """A photo that cannot be read: `reason` is the code that faults carry, `why` a phrase.

    `facts` are those of the file that was read, where that came so far: then the verdict can be remembered.
    """

    def __init__(self, path: str, reason: str, why: str, facts: os.stat_result | None = None) -> None:
        super().__init__(f"'{path}': {why}.", HINTS.get(reason, "Check the disk, or fetch the file again."))
        self.path = path
        self.reason = reason
        self.why = why
        self.facts = facts


class PhotoReader:
    """Reads photos under one root: a folder, or a table or container file, whose folder then counts.

    Any number of threads may share it. Close it, or use it as a context, to close the containers it holds open.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = str(root.parent if root.is_file() else root)
        self._open: OrderedDict[str, _Container] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all containers. Reading on opens them again."""
        with self._lock:
            opened, self._open = list(self._open.values()), OrderedDict()
        for container in opened:
            container.close()

    def read(self, path: str) -> bytes:
        """The content of a photo.

        Raises:
            ReadError: missing, larger than MAX_BYTES, changed while it was read, or its container is damaged.
        """
        return self.read_with_facts(path)[0]

    def read_with_facts(self, path: str) -> tuple[bytes, os.stat_result]:
        """The content of a photo, and size and times of the very file that it was read from (the container's, if any).

        Raises:
            ReadError: as for `read`.
        """
        inside = split_virtual(self.base, path)
        if inside is None:
            return _read_file(os.path.join(self.base, path), path)  # noqa: PTH118
        file, name = inside
        while True:
            container = self._container(file, path)
            try:
                return container.read(name, path)
            except _ClosedError:  # put away by another thread between our finding it and reading from it
                continue
            except ReadError as error:
                if error.reason == "changed":
                    self._forget(file, container)
                raise

    def locate(self, path: str) -> Path | None:
        """The real file that a photo lies in or is, where that exists; nothing is opened."""
        inside = split_virtual(self.base, path)
        file = Path(inside[0] if inside else os.path.join(self.base, path))  # noqa: PTH118
        try:
            return file if file.is_file() else None
        except (OSError, ValueError):
            return None

    def _container(self, file: str, path: str) -> _Container:
        with self._lock:
            known = self._open.get(file)
            if known is not None:
                self._open.move_to_end(file)
                return known
            made = _Container(file, path)
            self._open[file] = made
            dropped = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - MAX_OPEN)]
        for container in dropped:
            container.close()
        return made

    def _forget(self, file: str, container: _Container) -> None:
        with self._lock:
            if self._open.get(file) is container:
                del self._open[file]
        container.close()


class _ClosedError(Exception):
    """The container was closed meanwhile."""


class _Content(Protocol):
    def read(self, name: str, path: str, facts: os.stat_result) -> bytes: ...


class _Container:
    """One open container. What is in it is looked up on first use, under its own lock, so that others need not wait."""

    def __init__(self, file: str, path: str) -> None:
        try:
            self._stream: BinaryIO = open(file, "rb", buffering=0)  # noqa: SIM115, PTH123  (closed by `close`)
        except OSError as error:
            raise _from_os(path, error) from None
        self._facts = os.fstat(self._stream.fileno())
        self._make: Callable[[BinaryIO], _Content] = _Tar if file.casefold().endswith(".tar") else _Rows
        self._content: _Content | None = None
        self._lock = threading.Lock()

    def read(self, name: str, path: str) -> tuple[bytes, os.stat_result]:
        with self._lock:
            if self._stream.closed:
                raise _ClosedError
            self._refuse_changed(path)
            try:
                if self._content is None:
                    self._content = self._make(self._stream)
                content = self._content.read(name, path, self._facts)
            except DataError as error:
                self._refuse_changed(path)  # a file that changes under us looks damaged: say what it is
                if isinstance(error, ReadError):
                    raise
                raise ReadError(path, "damaged", error.message.rstrip("."), self._facts) from None
            self._refuse_changed(path)
            return content, self._facts

    def close(self) -> None:
        with self._lock:
            self._content = None
            self._stream.close()

    def _refuse_changed(self, path: str) -> None:
        now = os.fstat(self._stream.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._facts.st_size, self._facts.st_mtime_ns):
            raise ReadError(path, "changed", "the file that holds it was changed while it was read")


class _Tar:
    """Members of a tar by name: the first of a name counts. Size and place are packed in one number to save memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._descriptor = stream.fileno()
        self._places: dict[str, int] = {}
        try:
            for member in walk_tar(self._descriptor):
                self._add(member)
        except TarDamagedError:
            pass  # what came before the damage is whole; the listing has told of the rest

    def read(self, name: str, path: str, facts: os.stat_result) -> bytes:
        packed = self._places.get(name)
        if packed is None:
            raise ReadError(path, "missing", "the tar has no such member", facts)
        offset, size = packed >> 40, packed & (2**40 - 1)
        if size > MAX_BYTES:
            raise ReadError(path, "too-large", f"{size} bytes, at most {MAX_BYTES} allowed", facts)
        try:
            content = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise _from_os(path, error) from None
        if len(content) != size:
            raise ReadError(path, "truncated", f"the tar ends {size - len(content)} bytes too early", facts)
        return content

    def _add(self, member: Member) -> None:
        name = member.name.removeprefix("./")
        if member.kind == "file" and member.size < 2**40 and member_fault(name) is None:
            self._places.setdefault(name, member.offset << 40 | member.size)


class _Rows:
    """Rows of a Parquet file by their number."""

    def __init__(self, stream: BinaryIO) -> None:
        self._rows = RowPhotos(stream)

    def read(self, name: str, path: str, facts: os.stat_result) -> bytes:
        if not (name.isascii() and name.isdigit() and len(name) <= 18):
            raise ReadError(path, "missing", "rows are named by their number", facts)
        try:
            content = self._rows.read(int(name))
        except IndexError:
            raise ReadError(path, "missing", f"the file has {len(self._rows)} rows", facts) from None
        except parquet_errors() as error:
            told = str(error).partition("\n")[0] or type(error).__name__
            remembered = None if isinstance(error, MemoryError) else facts  # out of memory today is not so tomorrow
            raise ReadError(path, "damaged", f"its row group cannot be read ({told})", remembered) from None
        if content is None:
            raise ReadError(path, "no-bytes", "the row holds no photo", facts)
        if len(content) > MAX_BYTES:
            raise ReadError(path, "too-large", f"{len(content)} bytes, at most {MAX_BYTES} allowed", facts)
        return content


def _read_file(file: str, path: str) -> tuple[bytes, os.stat_result]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not make us wait
        with open(descriptor, "rb", buffering=0) as stream:  # noqa: PTH123
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ReadError(path, "not-a-file", "a folder, device, pipe or socket, not a file")
            if facts.st_size > MAX_BYTES:
                raise ReadError(path, "too-large", f"{facts.st_size} bytes, at most {MAX_BYTES} allowed", facts)
            content = stream.read()
            after = os.fstat(descriptor)
    except ValueError as error:  # a zero byte in the name
        raise ReadError(path, "missing", str(error)) from None
    except OSError as error:
        raise _from_os(path, error) from None
    if (after.st_size, after.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns):
        raise ReadError(path, "changed", "it was changed while it was read")
    return content, facts


def _from_os(path: str, error: OSError) -> ReadError:
    gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return ReadError(path, "missing" if gone else "unreadable", f"cannot be read ({error.strerror})")
