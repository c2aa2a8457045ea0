"""What is wrong with a study, told once: a fault of a shared step is not repeated for every row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["gathered", "name_fault"]

MAX_NAME = 60
_NAME = re.compile(r"[^\W_][\w .+()-]*", re.UNICODE)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices: results are copied there too."""


def gathered(found: Mapping[str, Sequence[str]], roads: Mapping[str, str]) -> list[str]:
    """The faults of all rows (name -> its faults), each once, with whom it concerns: all, a road, or some networks.

    `roads` tells the road of every network.
    """
    concerned: dict[str, list[str]] = {}
    for name, faults in found.items():
        for fault in dict.fromkeys(faults):
            concerned.setdefault(fault, []).append(name)
    told = []
    for fault, names in concerned.items():
        of_road = [name for name, road in roads.items() if road == roads[names[0]]]
        if names == list(roads) and len(names) > 1:
            told.append(fault)
        elif names == of_road and len(names) > 1:
            told.append(f"road '{roads[names[0]]}': {fault}")
        else:
            told.append(f"{', '.join(names)}: {fault}")
    return told


def name_fault(name: Any, taken: Sequence[str]) -> list[str]:
    """What is wrong with a row's name, which becomes a folder's: at most one fault."""
    if not isinstance(name, str) or not name:
        return ["a text key 'name' is needed"]
    if len(name) > MAX_NAME or len(name.encode("utf-8", "replace")) > 4 * MAX_NAME:
        return [f"the name has {len(name)} characters; {MAX_NAME} are allowed"]
    if RESERVED.fullmatch(name):
        return ["the name becomes a folder's, and Windows keeps this one for a device"]
    if not _NAME.fullmatch(name) or name[-1] in ". ":
        return [
            "the name becomes a folder's: letters, digits, spaces and . _ + ( ) - are allowed, "
            "a letter or digit first, no dot or space last"
        ]
    twin = next((other for other in taken if other.casefold() == name.casefold()), None)
    return [] if twin is None else [f"the name is taken ('{twin}')"]
