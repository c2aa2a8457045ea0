"""The lines of the audit's result: made, shown side by side, written as a CSV."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherlite.history import wilson

__all__ = ["Row", "share", "shown", "single", "written"]

Row = dict[str, Any]


def share(measure: str, subject: str, tool: str, hits: int, n: int) -> Row:
    """A line of the result with its 95% Wilson interval."""
    row: Row = {"measure": measure, "subject": subject, "tool": tool, "n": n, "hits": hits}
    if n:
        estimate = wilson(hits, n)
        row |= {name: round(getattr(estimate, name), 4) for name in ("value", "low", "high")}
    return row


def single(measure: str, subject: str, tool: str, value: Any, n: int | None = None, hits: Any = None) -> Row:
    return {"measure": measure, "subject": subject, "tool": tool, "n": n, "hits": hits, "value": value}


def shown(rows: Sequence[Row]) -> None:
    """The rows side by side, one column a tool."""
    tools = list(dict.fromkeys(row["tool"] for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in rows:
        between = f" ({row['low']:g} to {row['high']:g})" if row.get("low") is not None else ""
        of = f"  n={row['n']}" if row["n"] is not None else ""
        lines[row["measure"], row["subject"]][row["tool"]] = f"{row.get('value')}{between}{of}"
    print(f"{'measure':<26}{'subject':<40}" + "".join(f"{tool:<40}" for tool in tools))
    for (measure, subject), cells in lines.items():
        print(f"{measure:<26}{subject:<40}" + "".join(f"{cells.get(tool, '-'):<40}" for tool in tools))


def written(name: str, rows: Sequence[Row], peer: str | None, folder: Path) -> Path:
    """The rows as a CSV whose name says on what they were measured."""
    import PIL

    place = f"{os.cpu_count()}core-{platform.machine()}_py{platform.python_version()}_pillow{PIL.__version__}"
    if peer:
        place += f"_cleanvision{peer_version(peer)}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"audit_{name}_{place}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["measure", "subject", "tool", "n", "hits", "value", "low", "high"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def peer_version(python: str) -> str:
    words = [python, "-c", "from importlib.metadata import version; print(version('cleanvision'))"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python} has no cleanvision; benchmarks/README.md says how to install it.")
    return done.stdout.strip()
