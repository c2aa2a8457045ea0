"""Training after surgery: the layers around the wound first, then outward, and never below what was reached before.

A network that lost a part is nearly right nearly everywhere. Training all of it at once lets the shock run through
layers that had nothing to mend; so the layers next to the change train alone until they fit in again, then those
around them, and at last all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.history import wilson_interval
from featherlite.models.named import HEAD
from featherlite.preprocess import Preprocess
from featherlite.shrink.milestones import Reached, reach
from featherlite.step import Context
from featherlite.training.teachers.config import TaughtConfig

if TYPE_CHECKING:
    import keras

    from featherlite.data.photos import PhotoSet
    from featherlite.training.guide import Guide

__all__ = ["RecoveryConfig", "Ward", "distances"]

SAMPLE = 5
"""The stream of random numbers that picks the photos for BatchNorm's statistics."""


class RecoveryConfig(TaughtConfig):
    """How a network is trained after surgery, and what it may lose."""

    idle: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("unlock", "unlock_stages", "unlock_rate_decay"), "stages says how the network recovers"
    )
    head_epochs: int = Field(0, ge=0, le=1000, description="epochs for the head alone before each stage; 0 skips them")
    epochs: int = Field(3, ge=0, le=10_000, description="epochs of each stage of recovery")
    rate: float = Field(1e-3, gt=0, le=1, description="peak learning rate of these epochs")
    stages: int = Field(
        2,
        ge=1,
        le=20,
        description="stages of recovery: the layers around the change first, then outward; 1: all at once",
    )
    max_drop: float = Field(
        0.02,
        ge=0,
        le=1,
        description="validation top-1 that may be lost against the network that came; beyond it the "
        "last good one is returned",
    )

    @model_validator(mode="after")
    def _teacher_is_heard(self) -> RecoveryConfig:
        if self.teacher and not self.listens():
            raise ValueError("teacher does nothing where no epoch is left in which it is listened to")
        return self

    def listens(self) -> bool:
        """Whether there are epochs that a teacher guides."""
        return self.epochs > 0 or self.head_epochs > 0


@dataclass(frozen=True)
class Ward:
    """Where networks recover: photos, config, the validation that decides what is good enough, and who teaches.

    `teaching` gives the guide that a teacher is to recovery, None without one; it is asked where first something is to
    be taught.
    """

    train: PhotoSet
    val: PhotoSet | None
    config: RecoveryConfig
    teaching: Callable[[], Guide | None] = lambda: None

    @classmethod
    def open(cls, bundle: Bundle, config: RecoveryConfig, ctx: Context, preprocess: Preprocess | None = None) -> Ward:
        """The ward of a bundle's photos, at the bundle's input size or another contract's.

        Raises:
            RequestError: a teacher is named that cannot teach this network.
            BundleError: the teacher's bundle is damaged.
        """
        from featherlite.data.photos import load_photos
        from featherlite.training.teachers.classroom import teaching_of

        train = load_photos(bundle, "train", ctx, preprocess)
        val = load_photos(bundle, "val", ctx, preprocess)
        if not len(val.labels):
            ctx.warn("There are no validation photos: nothing tells which epoch is the best, nor when accuracy breaks.")
        return cls(train, val if len(val.labels) else None, config, teaching_of(bundle, config, ctx))

    def top1(self, network: keras.Model) -> float | None:
        """Validation top-1 in 0..1; None without validation photos."""
        from featherlite.models.logits import network_logits

        if self.val is None:
            return None
        answers = network_logits(network, self.val.images).argmax(axis=1)
        return float((answers == self.val.labels).mean())

    def holds(self, top1: float | None, reference: float | None) -> bool:
        """Whether a network is good enough beside the one that came; always so without validation photos."""
        # Shares of photos are no exact numbers: what lost max_drop to the photo is not to fall on the wrong side.
        return top1 is None or reference is None or top1 >= reference - self.config.max_drop - 1e-9

    def renew(self, network: keras.Model, ctx: Context) -> float | None:
        """Estimates BatchNorm's statistics anew, where inputs or activations are others now; the top-1 with them."""
        from featherlite.training.batchnorm import reestimate
        from featherlite.training.phases import reseed

        rows = np.random.default_rng([ctx.seed, 0, 0, SAMPLE]).permutation(len(self.train.labels))
        reestimate(network, self.train.images, rows, max(self.config.batch, 32))
        reseed(network, ctx.seed, 0)
        return self.top1(network)

    def lost(self, top1: float | None, reference: float | None) -> str:
        """Why a network of this validation top-1 is not good enough beside the one that came; empty where it is.

        Where `max_drop` would allow it to, what knew more than guessing still may not fall to what naming the most
        frequent class reaches.
        """
        if top1 is None or reference is None or self.val is None:
            return ""
        fall = f"validation top-1 fell from {reference:.3f} to {top1:.3f}"
        if not self.holds(top1, reference):
            return f"{fall}, by more than max_drop = {self.config.max_drop:g}"
        photos = len(self.val.labels)
        chance = float(np.bincount(self.val.labels).max() / photos)
        if top1 <= chance < wilson_interval(reference, photos)[0]:
            return f"{fall}, no better than guessing ({chance:.3f})"
        return ""

    def recover(
        self, network: keras.Model, touched: Collection[str], ctx: Context, name: str, guide: Guide | None = None
    ) -> Reached:
        """The network after its recovery from a change at the layers `touched`: stage by stage, each a milestone.

        The best epoch of each stage is kept, and the network as it came where none was better. `facts` has `top1`
        (validation; None without), and `stages`: what each reached and how many layers it trained. A `guide` takes the
        place of the ward's own teacher.
        """
        rings = self._rings(network, touched)
        reached, stages = Reached(network), []
        for number, ring in enumerate(rings, start=1):
            reached = reach(ctx, f"{name}-{number}", partial(self._stage, reached.network, ring, guide))
            stages.append(reached.facts)
        facts = {"top1": stages[-1]["top1"] if stages else self.top1(network), "stages": stages}
        return Reached(reached.network, facts)

    def _stage(self, network: keras.Model, ring: Collection[str], guide: Guide | None, ctx: Context) -> Reached:
        from featherlite.training.fit import fit

        before = self.top1(network)
        flags = [layer.trainable for layer in network.layers]
        for layer in network.layers:
            layer.trainable = layer.trainable and layer.name in ring
        try:
            has_head = any(layer.trainable and layer.name.startswith(HEAD) for layer in network.layers)
            config = self.config if has_head else self.config.model_copy(update={"head_epochs": 0})
            result = fit(network, self.train, self.val, config, ctx, guide or self.teaching())
        finally:
            for layer, flag in zip(network.layers, flags, strict=True):
                layer.trainable = flag
        return Reached(network, {"before": before, "top1": result.val_top1, "layers": len(ring)})

    def _rings(self, network: keras.Model, touched: Collection[str]) -> list[set[str]]:
        """The layers that train in each stage: those within a distance of the change that grows to all of them."""
        if not (self.config.epochs or self.config.head_epochs):
            return []
        away = distances(network, touched)
        if self.config.stages == 1 or not touched or not self.config.epochs:
            return [set(away)]
        nearest = 1  # the changed layers, and those that feed on them or feed them
        reaches = np.linspace(nearest, max(nearest, *away.values()), self.config.stages).round().astype(int)
        return [{name for name, distance in away.items() if distance <= reach_} for reach_ in sorted(set(reaches))]


def distances(network: keras.Model, touched: Collection[str]) -> Mapping[str, int]:
    """How many layers with weights lie between each layer with weights and the nearest touched one; 0 for those.

    Layers without weights count nothing on the way; a touched layer may be without weights.
    """
    from featherlite.models.surgery.rebuild import edges

    weighted = {layer.name for layer in network.layers if layer.weights}
    near: dict[str, set[str]] = {operation.name: set() for operation in network.operations}
    for source, target in edges(network):
        near[source.name].add(target.name)
        near[target.name].add(source.name)
    found = {name: 0 for name in touched if name in near}
    queue = deque(found)
    while queue:  # steps cost 0 or 1: the cheaper ones go first
        name = queue.popleft()
        for other in near[name]:
            cost = found[name] + (other in weighted)
            if cost < found.get(other, len(near) + 1):
                found[other] = cost
                (queue.append if other in weighted else queue.appendleft)(other)
    farthest = max(found.values(), default=0) + 1
    return {name: found.get(name, farthest) for name in weighted}
