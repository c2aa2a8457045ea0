"""What a ladder says of one row beside its figures: the arena, and how stable a quantization is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from featherlite.report.units import bytes_text, percent_text, points_text

__all__ = ["arena_text", "stability_of", "stability_text"]


def arena_text(row: Mapping[str, Any]) -> str:
    """TFLM's working memory as measured, else what the activations alone need, with a ~; empty where neither is known.

    What only measures repeats its former row's figures and shows none.
    """
    if row["measures_only"]:
        return ""
    if row.get("arena_bytes") is not None:
        return bytes_text(row["arena_bytes"])
    return f"~{bytes_text(row['activation_bytes'])}" if row.get("activation_bytes") is not None else ""


def stability_of(details: Mapping[str, Any]) -> dict[str, Any] | None:
    """The spread over representative sets that a step recorded: sets, min, max, spread, n, split; None without one."""
    found = details.get("stability")
    if not isinstance(found, Mapping) or not isinstance(found.get("sets"), int):
        return None
    shares = {key: found.get(key) for key in ("min", "max", "spread")}
    if not all(isinstance(share, int | float) and math.isfinite(share) for share in shares.values()):
        return None
    return {"sets": found["sets"], **shares, "n": found.get("n"), "split": str(found.get("split") or "")}


def stability_text(row: Mapping[str, Any]) -> str:
    """The spread in a sentence; empty where none was found."""
    found = row.get("stability")
    if not found:
        return ""
    low, high, spread = (percent_text(found["min"]), percent_text(found["max"]), points_text(found["spread"]))
    return (
        f"{row['id']}: over {found['sets']} representative sets top-1 is {low} to {high}, "
        f"a spread of {spread.removeprefix('+')} points."
    )
