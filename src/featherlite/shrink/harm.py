"""What each residual block is worth: the network is asked without it, and what then goes wrong is its harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import keras

from featherlite.models.activation_peak import activation_peak
from featherlite.models.logits import network_logits
from featherlite.models.surgery.blocks import ResidualBlock, without_blocks
from featherlite.models.surgery.rebuild import Change, rebuild
from featherlite.shrink.chosen import drawn
from featherlite.shrink.fade import Gate
from featherlite.training.predict import score

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet

__all__ = ["Cost", "Harm", "Order", "asks_for_harm", "in_order", "measure_harm", "with_arena"]

Order = Literal["harm_per_cost", "harm", "cost", "end_first"]
Cost = Literal["parameters", "macs", "arena"]

NO_HARM = 1e-6
"""Harm below this, and less than none, counts as this: among blocks that only do damage the dearest goes first."""


@dataclass(frozen=True)
class Harm:
    """What leaving one block out does, with nothing trained.

    `loss`: rise of the mean cross-entropy in nats. `top1`: fall of the top-1, 0..1. `arena`: bytes of int8 activations
    that are no longer needed at the worst moment. None: not asked for.
    """

    block: ResidualBlock
    loss: float | None = None
    top1: float | None = None
    arena: int | None = None

    def saved(self, cost: Cost) -> int:
        """What its removal saves."""
        return {"parameters": self.block.parameters, "macs": self.block.macs, "arena": self.arena or 0}[cost]

    def facts(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "block": self.block.sum,
            "parameters": self.block.parameters,
            "macs": self.block.macs,
            "arena": self.arena,
            "loss": self.loss,
            "top1": self.top1,
        }


def asks_for_harm(order: Order) -> bool:
    """Whether that order hangs on photos, not on the graph alone."""
    return order in ("harm", "harm_per_cost")


def with_arena(network: keras.Model, harms: Sequence[Harm]) -> list[Harm]:
    """The same with what each block saves of the arena, which takes a graph of its own for each."""
    peak = activation_peak(network)
    return [replace(harm, arena=peak - activation_peak(without_blocks(network, [harm.block]))) for harm in harms]


def measure_harm(
    network: keras.Model,
    blocks: Sequence[ResidualBlock],
    photos: PhotoSet,
    count: int,
    seed: int,
    advance: Callable[[int], None],
) -> list[Harm]:
    """The harm of leaving out each of these blocks alone, on `count` photos drawn by seed, in the order of `blocks`.

    Raises:
        DataError: there are no photos.
    """
    rows = drawn(len(photos.labels), count, seed, "rank blocks by")
    images, labels = photos.images[rows], photos.labels[rows]
    gates = {block.sum: Gate(name=f"{block.sum}_gate") for block in blocks}
    gated = rebuild(network, {block.sum: _behind(gates[block.sum], 1 - block.port) for block in blocks})
    top1, loss = score(network_logits(gated, images), labels)
    harms = []
    for block in blocks:
        gate = gates[block.sum]
        gate.opening.assign(0.0)
        top1_without, loss_without = score(network_logits(gated, images), labels)
        gate.opening.assign(1.0)
        harms.append(Harm(block, loss_without - loss, top1 - top1_without))
        advance(1)
    return harms


def in_order(harms: Sequence[Harm], order: Order, cost: Cost) -> list[Harm]:
    """The same with those first that are to be removed first; of equal ones those nearer to the output."""

    def key(harm: Harm) -> tuple[float, float]:
        loss, saved = harm.loss or 0.0, harm.saved(cost)
        if order == "harm":
            return 0.0, loss
        if order == "cost":
            return 0.0, -saved
        if order == "end_first":
            return 0.0, 0.0
        # Where two blocks are at the arena's peak, neither saves anything alone: then harm has to tell them apart.
        return (0.0, max(loss, NO_HARM) / saved) if saved > 0 else (1.0, loss)

    from_the_end = list(harms)[::-1]
    return sorted(from_the_end, key=key)


def _behind(gate: Gate, branch: int) -> Change:
    """The change that lays a gate behind one term of a sum."""

    def change(layer: Any, terms: Any) -> Any:
        gated = [gate(term) if port == branch else term for port, term in enumerate(terms)]
        return layer(gated) if isinstance(layer, keras.layers.Layer) else layer(*gated)

    return change
