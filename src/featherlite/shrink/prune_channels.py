"""A narrower network: the channels that matter least for what they cost go, everywhere they reach, in rounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from featherlite.data.photos import PhotoSet
    from featherlite.models.surgery.channels import Channels

__all__ = ["PruneChannelsConfig", "prune_channels"]

SAMPLE = 11
"""The stream of random numbers that picks the photos whose gradients are looked at."""


class PruneChannelsConfig(RecoveryConfig):
    """How many channels go, which ones, and in how many rounds."""

    share: float = Field(
        0.3, gt=0, lt=1, description="share of all channels that goes, where neither parameters nor macs is given"
    )
    parameters: int = Field(0, ge=0, description="prune until the network has at most so many parameters; 0: no limit")
    macs: int = Field(0, ge=0, description="prune until a photo takes at most so many MACs; 0: no limit")
    criterion: Literal["taylor", "magnitude", "bn_scale"] = Field(
        "taylor",
        description="how much a channel matters: how the loss would change without it (taylor), the length of its "
        "kernels (magnitude), or its BatchNorm's scale (bn_scale)",
    )
    photos: int = Field(256, ge=1, description="criterion taylor: training photos whose gradients are looked at")
    rounds: int = Field(4, ge=1, le=100, description="rounds of pruning, each followed by recovery")
    multiple: int = Field(8, ge=1, le=256, description="widths become multiples of this, as kernels of devices like it")
    least: float = Field(0.25, ge=0, lt=1, description="share of the channels that stays wherever some go")

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> PruneChannelsConfig:
        fields = type(self).model_fields
        if (self.parameters or self.macs) and self.share != fields["share"].default:
            raise ValueError("share does nothing beside parameters or macs: leave it out")
        if self.criterion != "taylor" and self.photos != fields["photos"].default:
            raise ValueError(f"photos does nothing with criterion = '{self.criterion}'")
        return self


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def prune_channels(bundle: Bundle, config: PruneChannelsConfig, ctx: Context) -> Bundle:
    """The bundle with its network narrowed as far as asked, or as far as accuracy bore it."""
    from featherlite.models.network import load_network, network_bytes

    network = load_network(bundle)
    plan = _Plan.of(network, config)
    for told in plan.beyond:
        ctx.warn(told)
    ward = Ward.open(bundle, config, ctx)
    reference = ward.top1(network)
    good, costs, rounds, why = network, plan.start, list[dict[str, Any]](), ""
    for number in range(1, config.rounds + 1):
        goals = plan.goals(number)
        if all(costs[what] <= goal for what, goal in goals.items()):
            continue
        made = reach(ctx, f"round-{number}", partial(_round, good, plan, ward, goals))
        rounds.append({"round": number} | made.facts)
        if why := ward.lost(made.facts["top1"], reference):
            break
        good, costs = made.network, made.facts["costs"]
    kept = len(rounds) - bool(why)
    ctx.record(
        "prune_channels",
        {
            "reference": reference,
            "start": plan.start,
            "target": plan.target,
            "end": costs,
            "rounds": rounds,
            "kept": kept,
            "protected": plan.protected,
        },
    )
    if why:
        stays = f"the network of round {rounds[-2]['round']} is kept" if kept else "it stays as it came"
        ctx.warn(f"Round {rounds[-1]['round']} of {config.rounds} took too much: {why}; {stays}.")
    elif not rounds:
        ctx.warn("Nothing was pruned: the network is no larger than was asked for.")
    return bundle.with_network(network_bytes(good)) if kept else bundle


@dataclass(frozen=True)
class _Plan:
    """How far each group may go, and what is to be reached, in `channels`, `parameters` or `macs`."""

    config: PruneChannelsConfig
    floors: dict[str, int]
    protected: dict[str, str]
    start: dict[str, int]
    target: dict[str, int]
    beyond: tuple[str, ...]
    """what was asked for beyond the least that every width may have, which is then the target"""

    @classmethod
    def of(cls, network: keras.Model, config: PruneChannelsConfig) -> _Plan:
        """The plan for the network that came.

        Raises:
            RequestError: nothing in it may be pruned.
        """
        from featherlite.models.surgery.channels import channels_of
        from featherlite.models.surgery.widths import bill_of
        from featherlite.shrink.choosing import floor_of
        from featherlite.shrink.importance import scored

        channels = channels_of(network)
        able, widths = scored(network, channels, config.criterion), channels.widths
        floors = {name: floor_of(widths[name], config.multiple, config.least) for name in able}
        floors = {name: floor for name, floor in floors.items() if floor < widths[name]}
        if not floors:
            raise _nothing(network, channels, config)
        bill = bill_of(network, channels)
        start, smallest = bill.total(widths), bill.total(widths | floors)
        target = {what: limit for what in ("parameters", "macs") if (limit := getattr(config, what))}
        target = target or {"channels": round((1 - config.share) * start["channels"])}
        beyond = tuple(
            f"Pruned as far as may be, not to {limit:,} {_named(what)}: with every width at its least the network has "
            f"{smallest[what]:,} of its {start[what]:,}. Set least or multiple lower, or take whole blocks away first."
            for what, limit in target.items()
            if smallest[what] > limit
        )
        target = {what: max(limit, smallest[what]) for what, limit in target.items()}
        return cls(config, floors, channels.protected(), start, target, beyond)

    def goals(self, number: int) -> dict[str, int]:
        """What is to be reached by the end of that round: each takes the same share of what is left."""
        goals = dict(self.target)
        if number < self.config.rounds:
            for what, limit in self.target.items():
                begin = self.start[what]
                goals[what] = round(begin * min(1.0, limit / begin) ** (number / self.config.rounds))
        return goals


def _named(what: str) -> str:
    return "MACs" if what == "macs" else what


def _nothing(network: keras.Model, channels: Channels, config: PruneChannelsConfig) -> RequestError:
    """The error where no group can become narrower; it says why of each kind."""
    reasons = list(dict.fromkeys(channels.protected().values()))[:4]
    if channels.free():
        reasons.append(f"the others have no width that multiple = {config.multiple} and least = {config.least:g} leave")
        if config.criterion == "bn_scale":
            reasons.append("or no BatchNorm that scales them")
    return RequestError(
        f"'{network.name}' has no channels that may be pruned ({'; '.join(reasons)}).",
        "Take another criterion, or a smaller multiple, or remove_blocks and shrink_dense.",
    )


def _round(network: keras.Model, plan: _Plan, ward: Ward, goals: dict[str, int], ctx: Context) -> Reached:
    """The network narrowed to the goals and recovered; `facts` has its costs and widths, and top-1 on the way."""
    narrowed = reach(ctx, "narrowed", partial(_narrowed, network, plan, ward.train, goals))
    cut = ward.top1(narrowed.network)
    healed = ward.recover(narrowed.network, narrowed.facts["touched"], ctx, "heal")
    facts = {key: narrowed.facts[key] for key in ("costs", "widths")}
    return Reached(healed.network, facts | {"top1_cut": cut, "top1": healed.facts["top1"]})


def _narrowed(network: keras.Model, plan: _Plan, train: PhotoSet, goals: dict[str, int], ctx: Context) -> Reached:
    """The network without the channels that matter least; `facts` has each group's width before and after."""
    from featherlite.models.surgery.channels import channels_of, reindex
    from featherlite.models.surgery.widths import bill_of, cost_of
    from featherlite.shrink.choosing import choose

    channels = channels_of(network)
    scores, bill = _scores(network, channels, plan.config, train, ctx), bill_of(network, channels)
    kept = choose(scores, bill, channels, plan.floors, goals, plan.config.multiple)
    smaller = reindex(network, kept)
    widths = {name: [channels.widths[name], len(rows)] for name, rows in kept.items()}
    facts = {"costs": cost_of(smaller), "widths": widths, "touched": sorted(channels.touched(kept))}
    return Reached(smaller, facts)


def _scores(
    network: keras.Model, channels: Channels, config: PruneChannelsConfig, train: PhotoSet, ctx: Context
) -> dict[str, NDArray[np.float64]]:
    """How much each channel matters by the config's criterion."""
    from featherlite.shrink import importance
    from featherlite.shrink.chosen import drawn

    if config.criterion == "magnitude":
        return importance.by_magnitude(network, channels)
    if config.criterion == "bn_scale":
        return importance.by_norm(network, channels)
    rows = drawn(len(train.labels), config.photos, [ctx.seed, SAMPLE], "weigh channels by")
    ctx.progress.start("weigh channels", len(rows))
    scores = importance.by_taylor(network, channels, train.images[rows], train.labels[rows], ctx.progress.advance)
    ctx.progress.finish()
    return scores
