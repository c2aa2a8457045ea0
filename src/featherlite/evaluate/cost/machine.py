"""What a machine is, as far as it bears on how long something takes."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["machine_facts"]

PACKAGES = ("numpy", "ai-edge-litert", "keras", "tensorflow", "tensorflow-cpu", "jax")
CPUINFO = Path("/proc/cpuinfo")


def machine_facts(cpuinfo: Path = CPUINFO) -> dict[str, str | int | float]:
    """Processor, cores that may be used, memory, system, Python, and the versions of what computes."""
    from featherlite import __version__
    from featherlite.evaluate.measure import cores

    facts: dict[str, str | int | float] = {"processor": _processor(cpuinfo), "cores": cores()}
    with contextlib.suppress(ValueError, OSError, AttributeError):
        facts["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts |= {"system": f"{platform.system()} {platform.release()}", "python": platform.python_version()}
    facts["featherlite"] = __version__
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            facts[package] = version(package)
    return facts


def _processor(cpuinfo: Path) -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return platform.processor() or platform.machine()
