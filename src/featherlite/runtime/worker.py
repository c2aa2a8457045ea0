"""A module run as a process of its own: a crash, a leak or chatter there stays there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import featherlite
from featherlite.errors import ExportError

__all__ = ["FAILURE", "module_path", "run_worker", "signal_name"]

FAILURE: Final = "featherlite-worker-failure: "
"""A worker that fails in a way it understands writes this and its message as the last thing on stderr."""

SHOWN_LINES: Final = 4


def run_worker(
    module: str,
    arguments: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What the process `python -m module arguments` wrote to stderr, once it has ended well.

    `what` names the work in errors ("The conversion"). The folder that the process starts in is not searched
    for modules, so that a file named numpy.py beside the photos is not run.

    Raises:
        ExportError: the process failed, crashed (the signal is named) or took longer than `timeout_s`.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, **(environment or {}), "PYTHONPATH": module_path()},
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{what} took longer than {timeout_s:g} s and was stopped.",
            "Give it more time, or a smaller network.",
        ) from None
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode == 0:
        return said
    if done.returncode < 0:
        raise ExportError(f"{what} crashed with {signal_name(-done.returncode)}.{_last_lines(said)}")
    raise ExportError(f"{what} failed.{_last_lines(said)}")


def module_path() -> str:
    """PYTHONPATH for a process that is to run this very featherlite."""
    source = str(Path(featherlite.__file__).resolve().parent.parent)
    return os.pathsep.join([source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])


def signal_name(number: int) -> str:
    """The name of a signal: 9 -> 'SIGKILL'."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_lines(said: str) -> str:
    """The worker's own message, or else the last lines it wrote, to be put behind the sentence that says it
    failed.
    """
    _, marker, message = said.rpartition(FAILURE)
    lines = [line.strip() for line in (message if marker else said).splitlines() if line.strip()]
    if not lines:
        return ""
    return " It said: " + " | ".join(lines[:SHOWN_LINES] if marker else lines[-SHOWN_LINES:])
