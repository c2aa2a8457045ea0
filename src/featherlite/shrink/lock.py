"""Whether a network that lost a part still holds, and why not."""

from __future__ import annotations

import numpy as np

from featherlite.shrink.recovery import Ward

__all__ = ["lost"]


def lost(ward: Ward, top1: float | None, reference: float | None) -> str:
    """Why a network of this validation top-1 is not good enough beside the one that came; empty where it is.

    Where `max_drop` would allow it to, it still may not fall to what guessing the most frequent class reaches.
    """
    if top1 is None or reference is None or ward.val is None:
        return ""
    chance = float(np.bincount(ward.val.labels).max() / len(ward.val.labels))
    fall = f"validation top-1 fell from {reference:.3f} to {top1:.3f}"
    if not ward.holds(top1, reference):
        return f"{fall}, by more than max_drop = {ward.config.max_drop:g}"
    if top1 <= chance < reference:
        return f"{fall}, no better than guessing ({chance:.3f})"
    return ""
