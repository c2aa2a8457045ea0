"""Trains the network on the labels and on the word of a teacher, which sees the very cut of each photo that it sees."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.step import Context, step
from featherlite.training.teachers.config import TaughtConfig

__all__ = ["DistillConfig", "distill"]

TEACHERLESS = "Give teacher=PATH: a bundle's folder, one with '#' and its export (out/bundle#int8), or a .tflite."


class DistillConfig(TaughtConfig):
    """Who teaches, how, on which photos, and how the network is trained meanwhile."""

    unlabelled: Path | None = Field(
        None,
        description="photos without labels that join; copies of any split's photos are left out, and what looks like "
        "a held-out one",
    )

    @model_validator(mode="after")
    def _can_use_them(self) -> DistillConfig:
        if self.alpha == 0 and self.unlabelled is not None:
            raise ValueError("unlabelled photos teach nothing with alpha = 0: take a larger one")
        return self

    def lacking(self) -> str:
        """A teacher, where none is named."""
        return "" if self.teacher else f"needs a teacher. {TEACHERLESS}"

    def folders(self) -> tuple[Path, ...]:
        """The unlabelled photos' folder, where one is named."""
        return () if self.unlabelled is None else (self.unlabelled,)


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def distill(bundle: Bundle, config: DistillConfig, ctx: Context) -> Bundle:
    """The bundle with its network trained on labels and teachers; its graph is what it was."""
    from featherlite.data.photos import load_photos
    from featherlite.models.network import count_parameters, load_network, network_bytes
    from featherlite.training.fit import fit
    from featherlite.training.teachers.classroom import Classroom

    network = load_network(bundle)
    room = Classroom(bundle, config, ctx, config.unlabelled)
    room.warn_of_size(count_parameters(network))
    val = load_photos(bundle, "val", ctx)
    judged = room.judge_teachers()
    train = room.photos(bundle.preprocess)
    guide = room.teaching()
    result = fit(network, train, val if len(val.labels) else None, config, ctx, guide)
    result.warn(ctx)
    ctx.record("distill", room.facts(judged, result.val_top1, len(val.labels)))
    return bundle.with_network(network_bytes(network))
