"""Reads and judges photos: in threads where they are few, in processes of their own where they are many.

Threads share one interpreter lock, and much of the work on a small photo holds it: on 2 cores and 3,455 photos two
threads were 1.1 times as fast as one, two processes 1.7 times, their start included. A process that a photo brings down
is replaced, and the photo is a fault.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NamedTuple

import featherlite
from featherlite.data.look import look, look_dtype
from featherlite.data.memo import FileFacts, Verdict
from featherlite.data.pool import chunks, in_order, worker_count
from featherlite.data.reader import PhotoReader, ReadError
from featherlite.preprocess import PhotoError

__all__ = ["Judged", "judge_photos", "serve"]

log = logging.getLogger("featherlite")

CHUNK = 32
FEW = 1000
"""Up to this many photos are read in threads: to start a process takes as long as to read half of them."""

READY = b"ready\n"


class Judged(NamedTuple):
    """The verdict on one photo, and what the file was like that it was read from; None where the disk was at fault."""

    facts: FileFacts | None
    verdict: Verdict


def judge_photos(root: Path, paths: Sequence[str]) -> Generator[list[Judged], None, None]:
    """What each photo under `root` is, in blocks of at most CHUNK, in the order of `paths`."""
    with contextlib.ExitStack() as stack:
        if len(paths) > FEW and (crew := _crew(root, stack)) is not None:
            yield from stack.enter_context(contextlib.closing(in_order(crew.judge, chunks(paths, CHUNK))))
        else:
            reader = stack.enter_context(PhotoReader(root))

            def judge(part: Sequence[str]) -> list[Judged]:
                return [_judge(reader, path) for path in part]

            yield from stack.enter_context(contextlib.closing(in_order(judge, chunks(paths, CHUNK))))


def _judge(reader: PhotoReader, path: str) -> Judged:
    try:
        content, stat = reader.read_with_facts(path)
    except ReadError as error:
        return Judged(FileFacts.of(error.facts) if error.facts else None, Verdict("", error.reason, error.why))
    facts, digest = FileFacts.of(stat), hashlib.sha256(content).hexdigest()
    try:
        seen = look(content)
    except PhotoError as error:
        remembered = facts if error.reason != "unreadable" else None  # out of memory today is not so tomorrow
        return Judged(remembered, Verdict(digest, error.reason, error.why))
    return Judged(facts, Verdict(digest, look=seen.tobytes()))


# ---- in processes of their own -----------------------------------------------------------------------------------


class _DeadError(Exception):
    """A process is gone."""


class _Judge:
    """One process that judges; it ends when its input is closed, however this process ends."""

    def __init__(self, root: Path) -> None:
        source = str(Path(featherlite.__file__).resolve().parent.parent)
        places = [source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._process = subprocess.Popen(
            # -P: the folder that the process starts in is not searched for modules.
            [sys.executable, "-P", "-m", "featherlite.data.reading_worker", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked, self._answers = self._process.stdin, self._process.stdout

    def ready(self) -> bool:
        """Whether it has started; waits for that."""
        return self._answers.readline() == READY

    def judge(self, paths: Sequence[str]) -> list[Judged]:
        """What these photos are.

        Raises:
            _DeadError: the process ended over it.
        """
        try:
            self._asked.write(json.dumps(list(paths)).encode() + b"\n")
            self._asked.flush()
        except OSError:
            raise _DeadError from None
        return list(_received(self._answers, len(paths)))

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self._asked.close()
        self._answers.close()
        self._process.kill()
        self._process.wait()


class _Crew:
    """As many judges as there are cores; threads wait for whichever is free."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._free: SimpleQueue[_Judge] = SimpleQueue()
        self._all = [_Judge(root) for _ in range(worker_count())]

    def ready(self) -> bool:
        """Whether all have started."""
        for one in self._all:
            self._free.put(one)
        started = [one.ready() for one in self._all]
        return all(started)

    def judge(self, paths: Sequence[str]) -> list[Judged]:
        """What these photos are; where a process dies over them, they are asked for one by one.

        A process may also have been killed from outside, so a photo is blamed only once as many have died over it.
        """
        tries = worker_count() + 1 if len(paths) == 1 else 1
        for _ in range(tries):
            with contextlib.suppress(_DeadError):
                return self._asked(paths)
        if len(paths) > 1:
            return [judged for path in paths for judged in self.judge([path])]
        return [Judged(None, Verdict("", "damaged", "reading it brings the process down"))]

    def _asked(self, paths: Sequence[str]) -> list[Judged]:
        one = self._free.get()
        try:
            return one.judge(paths)
        except _DeadError:
            one.close()
            one = _Judge(self._root)
            self._all.append(one)
            one.ready()
            raise
        finally:
            self._free.put(one)

    def close(self) -> None:
        """Ends all processes."""
        for one in self._all:
            one.close()


def _crew(root: Path, stack: contextlib.ExitStack) -> _Crew | None:
    """A crew at work, or None where processes cannot be started here."""
    try:
        crew = _Crew(root)
    except OSError as error:
        log.info("photos are read in threads: no process can be started (%s)", error)
        return None
    stack.callback(crew.close)
    if crew.ready():
        return crew
    log.info("photos are read in threads: a process for reading did not start")
    return None


def serve(root: Path, asked: IO[bytes], answers: IO[bytes]) -> None:
    """Judges what is asked for, line by line, until the input ends: the other end of `_Judge`."""
    answers.write(READY)
    answers.flush()
    with PhotoReader(root) as reader:
        for line in asked:
            judged = [_judge(reader, path) for path in json.loads(line)]
            told = [(facts, verdict.sha256, verdict.reason, verdict.why) for facts, verdict in judged]
            answers.write(json.dumps(told).encode() + b"\n")
            answers.write(b"".join(verdict.look for _, verdict in judged))
            answers.flush()


def _received(answers: IO[bytes], count: int) -> Iterator[Judged]:
    """What `serve` wrote about `count` photos."""
    line = answers.readline()
    if not line.endswith(b"\n"):
        raise _DeadError
    told = json.loads(line)
    if len(told) != count:
        raise _DeadError
    width = look_dtype().itemsize
    for facts, sha256, reason, why in told:
        seen = b"" if reason else answers.read(width)
        if len(seen) != (0 if reason else width):
            raise _DeadError
        yield Judged(FileFacts(*facts) if facts is not None else None, Verdict(sha256, reason, why, seen))
