"""How much memory a process has needed at most, as the system counts it."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path

__all__ = ["PeakMemory", "peak_bytes"]

PROC = Path("/proc/self")


def peak_bytes(proc: Path = PROC) -> int | None:
    """The most resident memory that this process has had; None where the system does not tell."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", (proc / "status").read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    if platform.system() == "Linux":
        return None
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else most * 1024


class PeakMemory:
    """What a process needs beyond what it had when this was made."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc
        # Linux forgets the peak so far where it is asked to, so that what importing took does not hide what follows.
        with contextlib.suppress(OSError):
            (proc / "clear_refs").write_text("5")
        self._before = peak_bytes(proc)

    def grown(self) -> int | None:
        """Bytes by which the peak lies above that of the start; None where the system does not tell."""
        now = peak_bytes(self._proc)
        return None if now is None or self._before is None else max(0, now - self._before)
