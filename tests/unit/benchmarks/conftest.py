"""Puts the benchmarks' folder on the path: its modules import each other by plain name, as scripts do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
