"""Energy that the processor drew, where the machine tells: RAPL, as Linux shows it under /sys/class/powercap."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["Meter"]

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Counts from its making on. It is the energy of whole processor packages, with whatever else they do meanwhile.

    Linux lets only root read the counters unless told otherwise; elsewhere there are none. Then nothing is told.

    Source: the Linux kernel's documentation of powercap: `energy_uj` counts microjoules and starts again at 0 beyond
    `max_energy_range_uj`.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = _packages(root)
        self._start = [_number(zone / "energy_uj") for zone in self._zones]

    def joules(self) -> float | None:
        """Joules since the making, over all packages; None where the machine does not tell of each of them."""
        if not self._zones:
            return None
        total = 0
        for zone, before in zip(self._zones, self._start, strict=True):
            now = _number(zone / "energy_uj")
            if before is None or now is None:
                return None
            if now < before:
                reach = _number(zone / "max_energy_range_uj")
                if reach is None:
                    return None
                now += reach
            total += now - before
        return total / 1e6


def _packages(root: Path) -> list[Path]:
    """The zones of whole packages: their parts (cores, memory) have a second colon, and would count twice."""
    try:
        zones = sorted(zone for zone in root.iterdir() if re.fullmatch(r"(intel|amd)-rapl:\d+", zone.name))
    except OSError:
        return []
    return [zone for zone in zones if _text(zone / "name").startswith("package")]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else None
