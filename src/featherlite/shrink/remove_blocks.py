"""A shorter network: the residual blocks that matter least for what they cost are removed, and the network healed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError, did_you_mean
from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.models.surgery.blocks import ResidualBlock
    from featherlite.shrink.harm import Harm

__all__ = ["RemoveBlocksConfig", "remove_blocks"]

NONE_LEFT = "no block is left that may be removed"


class RemoveBlocksConfig(RecoveryConfig):
    """Which blocks go, how many of them, and how they take their leave."""

    blocks: tuple[str, ...] = Field(
        (), description="names of the sums that end the blocks to remove, in this order; empty: chosen by `order`"
    )
    count: int = Field(0, ge=0, description="remove at most so many blocks; 0: as many as accuracy bears")
    parameters: int = Field(0, ge=0, description="stop once the network has at most so many parameters; 0: no such end")
    order: Literal["harm_per_cost", "harm", "cost", "end_first"] = Field(
        "harm_per_cost",
        description="which block goes first: the one whose absence costs least accuracy for what it saves, least "
        "accuracy alone, the one that saves most, or the one nearest to the output; asked anew after each removal",
    )
    cost: Literal["parameters", "macs", "arena"] = Field(
        "parameters", description="what a removal saves: parameters (bytes in int8), MACs, or bytes of activations"
    )
    photos: int = Field(
        256, ge=1, description="photos on which that is measured, of the calibration split, or of train without one"
    )
    together: int = Field(1, ge=1, le=100, description="blocks that are removed at once, before the network recovers")
    misses: int = Field(
        0,
        ge=0,
        description="how often a removal that breaks accuracy is given back and another is tried: half as many blocks "
        "at once, or the next one where it was one alone",
    )
    fade: Literal["anneal", "penalty", "none"] = Field(
        "none",
        description="before a branch is removed a gate behind it closes while the network trains: evenly (anneal), or "
        "as far as it learns to under a penalty; none: it is cut off at once",
    )
    fade_epochs: int = Field(2, ge=1, le=1000, description="epochs in which the gate closes")
    fade_penalty: float = Field(
        0.5, gt=0, le=1000, description="fade penalty: weight of the gate's opening in the loss"
    )

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> RemoveBlocksConfig:
        idle = {key for key in ("fade_epochs", "fade_penalty", "cost", "order", "photos") if self._changed(key)}
        if self.fade == "none" and "fade_epochs" in idle:
            raise ValueError("fade_epochs does nothing with fade = 'none'")
        if self.fade != "penalty" and "fade_penalty" in idle:
            raise ValueError(f"fade_penalty does nothing with fade = '{self.fade}'")
        if self.order not in ("cost", "harm_per_cost") and "cost" in idle:
            raise ValueError(f"cost does nothing with order = '{self.order}'")
        if self.order in ("cost", "end_first") and "photos" in idle:
            raise ValueError(f"photos does nothing with order = '{self.order}', which measures no harm")
        if self.blocks and (set(idle) & {"order", "cost", "photos"}):
            raise ValueError("order, cost and photos do nothing where blocks says which go: leave them out")
        if len(set(self.blocks)) < len(self.blocks):
            raise ValueError("blocks names a block twice")
        if self.fade != "none" and self.augment > 0 and (self.mixup > 0 or self.cutmix > 0):
            raise ValueError("fade cannot be taught on mixed photos: set mixup and cutmix to 0, or fade to 'none'")
        return self

    def listens(self) -> bool:
        """While branches fade, too."""
        return super().listens() or self.fade != "none"

    def _changed(self, key: str) -> bool:
        return bool(getattr(self, key) != type(self).model_fields[key].default)


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def remove_blocks(bundle: Bundle, config: RemoveBlocksConfig, ctx: Context) -> Bundle:
    """The bundle with a network of fewer residual blocks, the last one that was good enough."""
    from featherlite.models.activation_peak import activation_peak
    from featherlite.models.network import count_parameters, load_network, network_bytes

    network = load_network(bundle)
    _check(network, config)
    ward = Ward.open(bundle, config, ctx)
    if ward.val is None and not (config.blocks or config.count or config.parameters):
        raise RequestError(
            "Without validation photos nothing tells how many blocks accuracy bears.",
            "Set count, parameters or blocks, or split with a share for val.",
        )
    surgery = _Surgery(ward, config, ctx, _asked(bundle, ward, ctx), network, ward.top1(network))
    why = surgery.run()
    before, after = count_parameters(network), count_parameters(surgery.network)
    ctx.record(
        "remove_blocks",
        {
            "reference": surgery.reference,
            "parameters": [before, after],
            "activation_bytes": [activation_peak(network), activation_peak(surgery.network)],
            "kept_whole": _refused(network),
            "removed": surgery.removed,
            "given_back": surgery.given_back,
            "ended": why,
        },
    )
    if not surgery.removed:
        ctx.warn(f"No block was removed: {why}.")
        return bundle
    if (config.count or config.parameters) and why == NONE_LEFT:
        ctx.warn(f"Less was removed than was asked for: {why}. It has {after:,} parameters, {before:,} before.")
    return bundle.with_network(network_bytes(surgery.network))


@dataclass
class _Surgery:
    """The removals one after the other, and what came of each."""

    ward: Ward
    config: RemoveBlocksConfig
    ctx: Context
    asked: PhotoSet
    network: keras.Model
    reference: float | None
    removed: list[dict[str, Any]] = field(default_factory=list)
    given_back: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> str:
        """Removes blocks until something ends it; says what."""
        while not (why := self._end()):
            number = len(self.removed) + len(self.given_back) + 1
            made = reach(self.ctx, f"cut-{number}", partial(self._round, self.network))
            loss = self.ward.lost(made.facts["top1"], self.reference)
            if not loss:
                self.network = made.network
                self.removed.append(made.facts)
                continue
            self.given_back.append(made.facts | {"why": loss})
            names = ", ".join(made.facts["blocks"])
            self.ctx.warn(f"{names} given back: without it {loss}. The last good network goes on.")
        return why

    def _end(self) -> str:
        """Why there is nothing more to do; empty where there is."""
        from featherlite.models.network import count_parameters

        if len(self.given_back) > self.config.misses:
            return f"accuracy broke: {self.given_back[-1]['why']}"
        parameters, wanted = count_parameters(self.network), self.config.parameters
        if wanted and parameters <= wanted:
            return f"it has {parameters:,} parameters, and at most {wanted:,} were asked for"
        if self.config.count and self._gone() >= self.config.count:
            return f"count = {self.config.count} is reached"
        return "" if self._candidates(self.network) else NONE_LEFT

    def _gone(self) -> int:
        return sum(len(facts["blocks"]) for facts in self.removed)

    def _candidates(self, network: keras.Model) -> list[ResidualBlock]:
        """The blocks that may go and were not given back; in the order asked for, where one was."""
        from featherlite.models.surgery.blocks import residual_blocks

        # Of several that broke accuracy together each may still go alone.
        kept = {facts["blocks"][0] for facts in self.given_back if len(facts["blocks"]) == 1}
        found = {one.sum: one for one in residual_blocks(network) if not one.why_not and one.sum not in kept}
        return [found[name] for name in self.config.blocks or found if name in found]

    def _round(self, network: keras.Model, ctx: Context) -> Reached:
        """The network without the next blocks, healed; `facts` has `blocks`, `harm` and the top-1 on the way."""
        from featherlite.models.surgery.blocks import touched, without_blocks

        candidates = self._candidates(network)
        ranked = [] if self.config.blocks else self._ranked(network, candidates, ctx)
        together = max(1, len(self.given_back[-1]["blocks"]) // 2) if self.given_back else self.config.together
        left = self.config.count - self._gone() if self.config.count else together
        chosen = ([harm.block for harm in ranked] or candidates)[: min(together, left)]
        names = [block.sum for block in chosen]
        cut = without_blocks(network, chosen)
        beside = touched(network, cut)
        facts: dict[str, Any] = {"blocks": names, "ranking": [harm.facts() for harm in ranked]}
        facts["top1_cut"] = self.ward.top1(cut)
        if self.config.fade != "none":
            faded = self._fade(network, cut, chosen, ctx)
            cut, facts["top1_faded"] = faded.network, faded.facts["top1"]
        healed = self.ward.recover(cut, beside, ctx, "heal")
        return Reached(healed.network, facts | {"top1": healed.facts["top1"]})

    def _ranked(self, network: keras.Model, blocks: Sequence[ResidualBlock], ctx: Context) -> list[Harm]:
        from featherlite.shrink.harm import Harm, asks_for_harm, in_order, measure_harm, with_arena

        config = self.config
        harms = [Harm(block) for block in blocks]
        if asks_for_harm(config.order):
            ctx.progress.start("rank blocks", len(blocks))
            harms = measure_harm(network, blocks, self.asked, config.photos, ctx.seed, ctx.progress.advance)
            ctx.progress.finish()
        if config.cost == "arena":
            harms = with_arena(network, harms)
        return in_order(harms, config.order, config.cost)

    def _fade(self, network: keras.Model, cut: keras.Model, blocks: Sequence[ResidualBlock], ctx: Context) -> Reached:
        """The cut network after training with the branches behind closing gates: all layers, in one stretch."""
        from featherlite.shrink.fade import Fade
        from featherlite.training.sampling import steps_per_epoch

        config, photos = self.config, len(self.ward.train.labels)
        steps = steps_per_epoch(photos, config.batch * config.accumulate) * config.accumulate * config.fade_epochs
        kind: Literal["anneal", "penalty"] = "penalty" if config.fade == "penalty" else "anneal"
        guide = Fade(
            network,
            blocks,
            steps,
            kind=kind,
            accumulate=config.accumulate,
            rate=config.rate,
            penalty=config.fade_penalty,
            beside=self.ward.teaching(),
        )
        whole = {"epochs": config.fade_epochs, "stages": 1, "head_epochs": 0, "patience": 0}
        course = config.model_copy(update=whole | {"progressive": (), "progressive_augment": False})
        return replace(self.ward, config=course).recover(cut, (), ctx, "fade", guide)


def _asked(bundle: Bundle, ward: Ward, ctx: Context) -> PhotoSet:
    """The photos on which harm is measured; never those that judge the result."""
    from featherlite.data.photos import load_photos

    calibration = load_photos(bundle, "calibration", ctx)
    return calibration if len(calibration.labels) else ward.train


def _refused(network: keras.Model) -> dict[str, str]:
    """The blocks that may not be removed, and why."""
    from featherlite.models.surgery.blocks import residual_blocks

    return {block.sum: block.why_not for block in residual_blocks(network) if block.why_not}


def _check(network: keras.Model, config: RemoveBlocksConfig) -> None:
    """Nothing, where the network has what is to be removed.

    Raises:
        RequestError: it has no removable block, or not the named ones.
    """
    from featherlite.models.surgery.blocks import residual_blocks

    found = residual_blocks(network)
    able = [block.sum for block in found if not block.why_not]
    if not able:
        reasons = "; ".join(f"{block.sum}: {block.why_not}" for block in found) or "it has no sum with a shortcut"
        raise RequestError(
            f"'{network.name}' has no residual block that may be removed ({reasons}).",
            "cut_tail and prune_channels shorten and narrow networks without such blocks.",
        )
    refused = _refused(network)
    for name in config.blocks:
        if name in refused:
            raise RequestError(
                f"The block '{name}' cannot be removed: {refused[name]}.", f"These can: {', '.join(able)}."
            )
        if name not in able:
            raise RequestError(f"'{network.name}' has no residual block '{name}'.", did_you_mean(name, able))
