"""Photos drawn in several processes, none of which outlives the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from featherlite.data.sample.photo import draw_file

Job = tuple[int, int, int, int]
"""The arguments of `draw_file`: seed, species, index, px."""
WORTH_A_POOL = 16
"""Up to so many photos are drawn sooner here than a second interpreter starts."""


def drawn(jobs: Sequence[Job], processes: int) -> Iterator[bytes]:
    """The JPEG bytes of every job, in order, drawn here or, with `processes` above 1, in spawned processes.

    Processes and not threads: drawing holds the interpreter's lock most of the time (two threads on two cores: 1.2x).
    """
    done = 0
    if processes > 1 and len(jobs) > WORTH_A_POOL:
        context = multiprocessing.get_context("spawn")
        workers = min(processes, len(jobs))
        try:
            with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
                try:
                    for data in pool.map(draw_file, *zip(*jobs, strict=True), chunksize=8):
                        yield data
                        done += 1
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)  # an interrupted run waits for nothing
        except BrokenProcessPool:  # no processes to be had here: go on alone
            pass
    for job in jobs[done:]:
        yield draw_file(*job)


def end_with_parent() -> None:
    """Starts a thread that ends this process as soon as its parent is gone.

    A killed parent cannot stop its pool, and a pool's worker waits for its next job for ever: it holds a writing end
    of the very pipe that it reads. Each spawned process has a pipe of its own to its parent, though, which the system
    closes when the parent ends, however it ends; the thread sleeps on that one.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # not a spawned process: it has nothing to wait for
        return

    def wait() -> None:
        parent.join()
        os._exit(1)  # sys.exit would end this thread alone

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
