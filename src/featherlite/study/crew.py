"""One training of a study in a process of its own: a crash, or memory that runs out, ends that row and no other."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featherlite.bundle import write_atomically
from featherlite.runtime.worker import module_path, signal_name
from featherlite.step import Progress
from featherlite.study.result import RESULT, Failure, Order, Result, read_result

__all__ = ["Crew"]

ORDER = "order.json"
LOG = "log.txt"
PATIENCE_S = 20.0
"""How long an interrupted worker may take to leave its folders in order."""

log = logging.getLogger("featherlite")


@dataclass
class Crew:
    """Who carries orders out, and tells what is going on: `tell` gets sentences, `progress` stretches of work."""

    tell: Callable[[str], None]
    progress: Progress
    _warned: set[str] = field(default_factory=set)

    def carry_out(self, order: Order) -> tuple[Result, bytes]:
        """The result of an order, done or failed, and its answers.

        Raises:
            KeyboardInterrupt: the user stopped it; the worker has ended, and what it had finished is kept.
        """
        place = Path(order.out)
        place.mkdir(parents=True, exist_ok=True)
        (place / RESULT).unlink(missing_ok=True)
        write_atomically(place / ORDER, order.model_dump_json(indent=1).encode())
        with (place / LOG).open("wb") as told:
            code = self._watched(place / ORDER, told, order.shared)
        found = read_result(place)
        if found is not None and found[0].key == order.key:
            return found
        failure = Failure(type="Crash", message=_crash(code), hint=f"See {place / LOG}.")
        result = Result(key=order.key, status="failed", failure=failure)
        write_atomically(place / RESULT, result.model_dump_json(indent=1).encode() + b"\n")
        return result, b""

    def _watched(self, order: Path, told: Any, shared: int) -> int:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "featherlite.study.worker", str(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            env={**os.environ, "PYTHONPATH": module_path()},
            start_new_session=True,  # Ctrl-C reaches this process alone, which hands it on once
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            done = 0
            for line in process.stdout:
                done += self._relay(line, known=done < shared)
            return process.wait()
        except BaseException:
            _stop(process)
            raise
        finally:
            process.stdin.close()
            process.stdout.close()
            self.progress.finish()

    def _relay(self, line: bytes, known: bool) -> bool:
        """Passes on what the worker tells; whether a step was done. A line that is none of its own is passed over.

        `known` says that the step at work is all rows': that it was done before was told once.
        """
        try:
            event = json.loads(line)
            kind = event.pop("event")
        except (ValueError, KeyError, AttributeError):
            return False
        if kind == "start":
            self.progress.start(event["what"], event["total"])
        elif kind == "advance":
            self.progress.advance(event["units"], event["note"])
        elif kind == "finish":
            self.progress.finish()
        elif kind == "warning" and event["message"] not in self._warned:
            self._warned.add(event["message"])  # what is wrong with the photos would be told by every row
            log.warning("%s", event["message"])
        elif kind == "step" and event["done"]:
            if not (known and event["cached"]):
                self.tell(f"  {event['id']}: " + ("done before" if event["cached"] else f"{event['seconds']:.0f} s"))
            return True
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Asks the worker to end, and ends it where it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _crash(code: int) -> str:
    """How a worker ended that left no result."""
    if code == -signal.SIGKILL:
        return "It was killed (SIGKILL), as Linux does where memory runs out."
    if code < 0:
        return f"It crashed with {signal_name(-code)}."
    return f"It ended with code {code} and left no result."
