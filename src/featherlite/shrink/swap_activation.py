"""A network with other activations (swish to ReLU6, say), swapped block by block, each block taught its former output.

Swish costs a microcontroller twice the time and memory of ReLU6 and loses much in int8. Swapped everywhere at once, the
errors pile up from block to block; swapped in one block, the layers around it can make up for nearly all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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

    from featherlite.models.surgery.activations import ActivationSite, Target
    from featherlite.models.surgery.squeeze_excite import SqueezeExcite
    from featherlite.models.surgery.stretches import Stretch

__all__ = ["SwapActivationConfig", "swap_activation"]

Kind = Literal[
    "any", "swish", "hard_swish", "relu", "relu6", "gelu", "elu", "selu", "leaky_relu", "prelu", "mish", "softplus",
    "softsign", "tanh",
]  # fmt: skip

GATE_PHOTOS = 512
"""Photos over which the gates of a squeeze-excite that is removed are averaged, at most."""
_OF_BLOCKS = ("begin", "count", "at_once", "match_epochs", "match_rate", "match_photos")


class SwapActivationConfig(RecoveryConfig):
    """Which activations go, what comes in their place, in which order, and how each block learns it."""

    source: Kind = "any"
    """The activation that is swapped, however it is written; any: all but the target and sigmoids that weigh."""
    target: Literal["relu6", "relu", "hard_swish"] = "relu6"
    """What it is swapped for: relu6 loses least in int8; hard_swish has an int8 kernel and stays near swish."""
    squeeze_excite: Literal["keep", "hard_sigmoid", "remove"] = "keep"
    """Squeeze-excite blocks: as they are; with a hard sigmoid, which is friendly to int8; or taken out, each channel
    weighed by its mean gate."""
    order: Literal["blocks", "all_at_once"] = "blocks"
    """Block by block with recovery after each, or everything at once and then recovery."""
    begin: Literal["input", "end"] = "input"
    """Where the blocks begin: at the photo or at the logits."""
    count: int = Field(0, ge=0, le=1000)
    """Swap at most so many blocks and leave the others as they are; 0: all of them."""
    at_once: int = Field(1, ge=1, le=1000)
    """Blocks swapped together before the network recovers."""
    match_epochs: int = Field(5, ge=0, le=1000)
    """Epochs in which a block learns its former output, before the network learns the labels again; 0 skips them."""
    match_rate: float = Field(3e-4, gt=0, le=1)
    """Peak learning rate of these epochs; what is nearly right already is spoilt by a high one."""
    match_photos: int = Field(1024, ge=1)
    """Photos of which a block's inputs and former outputs are kept for these epochs, at most (and as memory allows)."""
    epochs: int = Field(1, ge=0, le=10_000, description="epochs of each stage of recovery after each block")
    final_epochs: int = Field(3, ge=0, le=10_000)
    """Epochs for all layers once everything is swapped; 0 skips them."""

    @model_validator(mode="after")
    def _blocks_have_settings(self) -> SwapActivationConfig:
        for key in _OF_BLOCKS:
            if self.order == "all_at_once" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is a setting of order = 'blocks' and does nothing with 'all_at_once'")
        if self.order == "all_at_once":
            if self.stages not in (1, type(self).model_fields["stages"].default):
                raise ValueError("stages does nothing with order = 'all_at_once': all layers train together")
            if self.final_epochs and not self.epochs:
                raise ValueError("with order = 'all_at_once' a network is judged before final_epochs: give epochs too")
        for key in ("match_rate", "match_photos"):
            if not self.match_epochs and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} does nothing with match_epochs = 0")
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.target}")
        return self

    def listens(self) -> bool:
        """Once everything is swapped, too."""
        return super().listens() or self.final_epochs > 0


@dataclass(frozen=True)
class _Task:
    """What changes between two recoveries."""

    stretch: Stretch
    blocks: int
    swaps: tuple[ActivationSite, ...]
    gates: tuple[ActivationSite, ...]
    removed: tuple[SqueezeExcite, ...]

    @property
    def changes(self) -> bool:
        """Whether anything does."""
        return bool(self.swaps or self.gates or self.removed)

    @property
    def facts(self) -> dict[str, Any]:
        """What changes, by name."""
        return {
            "end": self.stretch.end,
            "swapped": [site.name for site in self.swaps],
            "hard_sigmoid": [site.name for site in self.gates],
            "removed": [block.product for block in self.removed],
        }


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def swap_activation(bundle: Bundle, config: SwapActivationConfig, ctx: Context) -> Bundle:
    """The bundle with its activations swapped, as far as accuracy held; as it came where there was nothing to swap.

    Raises:
        RequestError: the network has no activation of the kind that was named.
    """
    from featherlite.models.network import load_network, network_bytes
    from featherlite.models.surgery.squeeze_excite import find_squeeze_excite

    network = load_network(bundle)
    tasks = _tasks(network, config)
    if config.squeeze_excite != "keep" and not find_squeeze_excite(network):
        ctx.warn(f"squeeze_excite = '{config.squeeze_excite}' changes nothing: the network has no squeeze-excite.")
    if not tasks:
        ctx.warn(f"All activations are {config.target} already: the network is returned as it came.")
        return bundle
    ward = Ward.open(bundle, config, ctx)
    reference = ward.top1(network)
    good, rows = network, list[dict[str, Any]]()
    for number, task in enumerate(tasks, start=1):
        reached = reach(ctx, f"swap-{number}", partial(_swapped, good, task, ward, config))
        why = ward.lost(reached.facts["top1"], reference)
        rows.append(task.facts | reached.facts | {"kept": not why})
        if why:
            which = f"{task.blocks} blocks, the last of which" if task.blocks > 1 else "the block that"
            what = f"Swapping {which} ends in '{task.stretch.end}' was undone"
            before = sum(one.blocks for one in tasks[: number - 1])
            ctx.warn(f"{what}: {why}. Blocks that stay swapped: {before} of {sum(one.blocks for one in tasks)}.")
            break
        good = reached.network
    if good is not network and config.final_epochs:
        last = replace(ward, config=config.model_copy(update={"epochs": config.final_epochs, "stages": 1}))
        final = last.recover(good, (), ctx, "final")
        good, rows = final.network, [*rows, {"end": "all", "top1": final.facts["top1"]}]
    ctx.record("swap_activation", {"target": config.target, "top1": reference, "blocks": rows})
    return bundle if good is network else bundle.with_network(network_bytes(good))


def _tasks(network: keras.Model, config: SwapActivationConfig) -> list[_Task]:
    """The changes to be made, one after the other.

    Raises:
        RequestError: there is no activation of the kind that was named.
    """
    from featherlite.models.surgery.activations import GATES, find_activations
    from featherlite.models.surgery.squeeze_excite import find_squeeze_excite
    from featherlite.models.surgery.stretches import joined, stretches

    sites = find_activations(network)
    kinds = sorted({site.kind for site in sites} - set(GATES))
    if config.source not in ("any", *kinds):
        raise RequestError(
            f"'{network.name}' has no activation {config.source}: there is nothing to swap for {config.target}.",
            f"Its activations are: {', '.join(kinds) or 'none'}. Set source to one of them, or to any.",
        )
    blocks = find_squeeze_excite(network) if config.squeeze_excite != "keep" else ()
    removed = blocks if config.squeeze_excite == "remove" else ()
    gone = {name for block in removed for name in block.operations}
    gates = () if removed else tuple(block.site for block in blocks if block.site and block.site.kind == "sigmoid")
    kinds_going = {*kinds} - {config.target} if config.source == "any" else {config.source} - {config.target}
    swaps = tuple(site for site in sites if site.kind in kinds_going and site.name not in gone)

    def within(stretch: Stretch, count: int = 1) -> _Task:
        inside = set(stretch.operations)
        return _Task(
            stretch,
            count,
            tuple(site for site in swaps if site.name in inside),
            tuple(site for site in gates if site.name in inside),
            tuple(block for block in removed if block.product in inside),
        )

    everything = stretches(network)
    parts = [part for part in everything if within(part).changes]
    if config.order == "all_at_once":
        return [within(joined(everything), len(parts))] if parts else []
    return [within(joined(_between(everything, group)), len(group)) for group in _groups(parts, config)]


def _groups(parts: Sequence[Stretch], config: SwapActivationConfig) -> Iterator[Sequence[Stretch]]:
    """Stretches that are swapped together, the first to be swapped first; within a group in the graph's order."""
    ordered = list(parts) if config.begin == "input" else list(parts)[::-1]
    ordered = ordered[: config.count or len(ordered)]
    for start in range(0, len(ordered), config.at_once):
        group = ordered[start : start + config.at_once]
        yield group if config.begin == "input" else group[::-1]


def _between(everything: Sequence[Stretch], group: Sequence[Stretch]) -> Sequence[Stretch]:
    """The stretches from the first to the last of the group, with those between that change nothing."""
    return everything[everything.index(group[0]) : everything.index(group[-1]) + 1]


def _swapped(network: keras.Model, task: _Task, ward: Ward, config: SwapActivationConfig, ctx: Context) -> Reached:
    """The network after one change and its recovery; facts tell what each part of that brought."""
    from featherlite.shrink.matching import Matching, match_stretch
    from featherlite.training.phases import reseed

    changed = _changed(network, task, config.target, ward, ctx)
    reseed(changed, ctx.seed, 0)
    facts: dict[str, Any] = {"as_swapped": ward.top1(changed)}
    if config.order == "blocks":
        matching = Matching(config.match_epochs, config.match_rate, config.match_photos, config.batch)
        facts["matching"] = match_stretch(network, changed, task.stretch, ward.train, matching, ctx)
        facts["matched"] = ward.top1(changed)
    else:
        facts["renewed"] = ward.renew(changed, ctx)
    inside = set(task.stretch.operations)
    touched = [layer.name for layer in changed.layers if layer.weights and layer.name in inside]
    reached = ward.recover(changed, touched if config.order == "blocks" else (), ctx, "recover")
    return Reached(reached.network, facts | reached.facts)


def _changed(network: keras.Model, task: _Task, target: Target, ward: Ward, ctx: Context) -> keras.Model:
    from featherlite.models.surgery.activations import swap_activations
    from featherlite.models.surgery.squeeze_excite import mean_gates, remove_squeeze_excite
    from featherlite.shrink.chosen import drawn

    changed = swap_activations(network, task.gates, "hard_sigmoid") if task.gates else network
    changed = swap_activations(changed, task.swaps, target) if task.swaps else changed
    if not task.removed:
        return changed
    rows = drawn(len(ward.train.labels), GATE_PHOTOS, ctx.seed, "measure squeeze-excite on")
    gains = mean_gates(network, task.removed, ward.train.images[rows])
    return remove_squeeze_excite(changed, task.removed, gains)
