"""The process in which many photos are judged: `python -m featherlite.data.reading_worker ROOT`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from featherlite.data.reading import serve

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process itself
    serve(Path(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
