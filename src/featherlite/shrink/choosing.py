"""Which channels go: those that hold the least of what is left of their group, for what their absence saves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featherlite.models.surgery.channels import Channels
    from featherlite.models.surgery.widths import Bill

__all__ = ["choose", "floor_of"]


def floor_of(width: int, multiple: int, least: float) -> int:
    """The narrowest that a group may become: a multiple, and no less than that share of its width."""
    return max(1, math.ceil(width * least / multiple)) * multiple


def choose(
    scores: Mapping[str, NDArray[np.float64]],
    bill: Bill,
    channels: Channels,
    floors: Mapping[str, int],
    goals: Mapping[str, int],
    multiple: int,
) -> dict[str, NDArray[np.int64]]:
    """The channels that stay, for each group that loses some: int64, rising.

    As many go at once as lead to the next lower multiple, in each step from the group in which they hold the smallest
    share of the importance that is left there, for each part of the way to the `goals` that they save. The share counts
    once for each kernel that takes the channels in, since each of them loses it: the channels of a residual sum serve
    many. A share of what is left grows as a group shrinks, so that none is emptied while others stay whole. No group
    falls below its floor.
    """
    widths = channels.widths
    now = dict(widths)
    worst = {name: np.argsort(scores[name], kind="stable") for name in floors}
    lost = {name: np.concatenate([[0.0], np.cumsum(scores[name][worst[name]])]) for name in floors}
    parts = {name: bill.of(name) for name in floors}
    cost = bill.total(now)
    while away := {what: cost[what] - goal for what, goal in goals.items() if cost[what] > goal}:
        offers = []
        for name, floor in floors.items():
            narrower = now[name] - (now[name] % multiple or multiple)
            if narrower < floor:
                continue
            gone = widths[name] - now[name]
            loss = lost[name][widths[name] - narrower] - lost[name][gone]
            share = loss / (lost[name][-1] - lost[name][gone] or 1.0) * max(1, len(channels.groups[name].users))
            before, after = parts[name].total(now), parts[name].total(now | {name: narrower})
            way = sum((before[what] - after[what]) / distance for what, distance in away.items())
            if way > 0:
                offers.append((share / way, name, narrower))
        if not offers:
            break
        _, name, narrower = min(offers)
        now[name] = narrower
        cost = bill.total(now)
    return {
        name: np.sort(worst[name][widths[name] - now[name] :]).astype(np.int64)
        for name in floors
        if now[name] < widths[name]
    }
