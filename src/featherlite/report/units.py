"""Numbers as a reader wants them: few characters, and never rounded up to perfection."""

from __future__ import annotations

import math

__all__ = ["bytes_text", "count_text", "percent_text", "points_text", "seconds_text"]

_THOUSANDS = ("", "k", "M", "G", "T")
_BYTES = ("B", "KB", "MB", "GB", "TB")


def _three_digits(value: float, suffixes: tuple[str, ...], space: str) -> str:
    power = 0
    while power < len(suffixes) - 1 and round(value, 0 if value >= 100 else 1) >= 1000:
        value, power = value / 1000, power + 1
    if power == 0:
        return f"{value:.0f}{space}{suffixes[0]}".strip()
    decimals = 2 if round(value, 2) < 10 else 1 if round(value, 1) < 100 else 0
    return f"{value:.{decimals}f}{space}{suffixes[power]}"


def bytes_text(count: int) -> str:
    """A size in decimal units (1 KB = 1000 bytes) with three digits: 310792 -> '311 KB'."""
    return _three_digits(count, _BYTES, " ")


def count_text(count: int) -> str:
    """A count with three digits: 4491895 -> '4.49M'."""
    return _three_digits(count, _THOUSANDS, "")


def percent_text(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as percent. What is below 1 never reads as 100%: 0.99996 -> '>99.9%'."""
    text = f"{share * 100:.{digits}f}"
    if share < 1 and float(text) >= 100:
        return f">{math.floor(100 * 10**digits - 1) / 10**digits:.{digits}f}%"
    return f"{text}%"


def points_text(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign: -0.012 -> '-1.2'."""
    text = f"{difference * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def seconds_text(seconds: float) -> str:
    """A duration in at most six characters: '0.4s', '45s', '12m05s', '3h04m'."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
