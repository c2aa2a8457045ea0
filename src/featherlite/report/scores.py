"""The scores of metrics.json as sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["score_lines"]

WORST = 5


def score_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """One paragraph a split: top-1, top-5, macro-F1, and the classes with the lowest F1."""
    for split, found in metrics.items():
        parts = [f"{name} {_share(found[key])}" for name, key in (("top-1", "top1"), ("top-5", "top5"))]
        macro = found["macro_f1"]
        parts.append(f"macro-F1 {macro['value']:.3f} ({macro['low']:.3f} to {macro['high']:.3f})")
        yield f"{found['subject']} on {found['n']} {split} photos: {', '.join(parts)}."
        seen = [entry for entry in found["per_class"] if entry["n"] and entry["f1"] is not None]
        worst = sorted(seen, key=lambda entry: (entry["f1"], entry["label"]))[:WORST]
        yield f"Hardest: {', '.join(_class(entry) for entry in worst)}."


def _class(entry: Mapping[str, Any]) -> str:
    recall, precision = _percent(entry["recall"]), _percent(entry["precision"])
    return f"{entry['label']} (recall {recall}, precision {precision}, n {entry['n']})"


def _share(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%})"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
