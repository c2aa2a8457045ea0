"""The phases of a fit, by plain numbers: stretches of epochs, each with its layers, its rate and its input size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from featherlite.training.config import FitConfig

__all__ = ["HEAD_PHASE", "Phase", "plan"]

HEAD_PHASE = "head"


@dataclass(frozen=True)
class Phase:
    """The epochs after `first` up to and including `last`, in which one compiled step serves."""

    name: str
    first: int
    last: int
    rate: float | None
    """Peak learning rate; None where it is to be searched for."""
    layers: Mapping[str, float] = field(default_factory=dict)
    """Backbone layers that train, each with its share of the rate; the head always trains."""
    course: tuple[int, int] = (0, 0)
    """The epochs over which the rate runs its course and the optimizer keeps its state, likewise after .. up to."""
    px: int | None = None
    """Longer side at which photos are seen; None for the network's own."""
    augment: float = 1.0
    """Multiplies the strength of the augmentation."""


def plan(config: FitConfig, has_head: bool, groups: Sequence[Sequence[str]]) -> list[Phase]:
    """The phases that this config asks for; `groups` are the backbone's layers in the order in which they unlock.

    Where the epochs do not divide evenly, the later stages and sizes get one more; the last always has its share.
    """
    head = config.head_epochs if has_head else 0
    phases = [Phase(HEAD_PHASE, 0, head, config.head_rate, course=(0, head))] if head else []
    rate = None if config.rate == "auto" else config.rate
    total, sizes = config.epochs, config.progressive or (None,)
    stretches = [(_share(epoch, total, len(groups)), _share(epoch, total, len(sizes))) for epoch in range(total)]
    for (stage, size), epochs in groupby(range(total), key=stretches.__getitem__):
        stretch = list(epochs)
        course = [epoch for epoch in range(total) if stretches[epoch][0] == stage]
        phases.append(
            Phase(
                _name(stage, len(groups), sizes[size]),
                head + stretch[0],
                head + stretch[-1] + 1,
                rate,
                {name: config.unlock_rate_decay**depth for depth in range(stage + 1) for name in groups[depth]},
                (head + course[0], head + course[-1] + 1),
                sizes[size],
                (size + 1) / len(sizes) if config.progressive_augment else 1.0,
            )
        )
    return phases


def _share(epoch: int, total: int, parts: int) -> int:
    """In which of so many equal parts an epoch lies, from 0."""
    return parts - 1 - (total - 1 - epoch) * parts // total


def _name(stage: int, stages: int, px: int | None) -> str:
    words = [f"stage {stage + 1}/{stages}"] if stages > 1 else []
    return ", ".join(words + ([f"{px} px"] if px else [])) or "all"
