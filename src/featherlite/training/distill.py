"""Trains the network on the labels and on the word of a teacher, which sees the very cut of each photo that it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from featherlite.bundle import Bundle
from featherlite.step import Context, step
from featherlite.training.config import FitConfig

__all__ = ["DistillConfig", "distill"]

TEACHERLESS = "Give teacher=PATH: a bundle's folder, one with '#' and its export (out/bundle#int8), or a .tflite."


class DistillConfig(FitConfig):
    """Who teaches, how, and how the network is trained meanwhile."""

    teacher: tuple[str, ...] = Field(
        (),
        description="a bundle's folder, one with '#' and its export (out/bundle#int8), a .tflite, or within a recipe "
        "step:ID, the network as that earlier step left it; several are averaged",
    )
    teacher_labels: tuple[Path, ...] = Field(
        (),
        description="labels file of a .tflite teacher, one class a line (default: what it carries, else the .txt "
        "beside it)",
    )
    teacher_input: Literal["auto", "unit", "symmetric", "bytes"] = Field(
        "auto",
        description="what a foreign .tflite takes for a level x: unit x/255, symmetric x/127.5-1, bytes x; auto: what "
        "the file says",
    )
    kind: Literal["logits", "features", "both", "own_labels"] = Field(
        "logits",
        description="what is taught: soft labels over the common classes, pooled features, both, or soft labels over "
        "the teacher's own classes through a head that is dropped afterwards; features and own_labels need no common "
        "classes",
    )
    temperature: float = Field(4.0, gt=0, le=100, description="softens the soft labels; their loss counts its square")
    alpha: float = Field(0.9, ge=0, le=1, description="share of the teacher's loss; the labels' is the rest")
    feature_weight: float = Field(
        1.0, ge=0, le=1000, description="weight of the features' loss within the teacher's share"
    )
    views: int = Field(
        10,
        ge=0,
        le=10_000,
        description="fixed draws of each photo, shown in turn, on which the teacher is asked once and for all; 0: a "
        "new draw every epoch, on which it is asked anew",
    )
    unlabelled: Path | None = Field(
        None,
        description="photos without labels that join; copies of any split's photos are left out, and what looks like "
        "a held-out one",
    )

    @field_validator("teacher", "teacher_labels", mode="before")
    @classmethod
    def _as_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _can_be_taught(self) -> DistillConfig:
        if self.alpha == 1 and self.kind in ("features", "own_labels"):
            raise ValueError(f"alpha = 1 with kind = {self.kind} would never teach the head: take an alpha below 1")
        if self.alpha == 0 and self.unlabelled is not None:
            raise ValueError("unlabelled photos teach nothing with alpha = 0: take a larger one")
        if self.progressive and self.progressive_augment:
            raise ValueError(
                "progressive_augment changes the cuts from stage to stage, which a teacher does not follow"
            )
        return self

    def lacking(self) -> str:
        """A teacher, where none is named."""
        return "" if self.teacher else f"needs a teacher. {TEACHERLESS}"

    def files(self) -> tuple[Path, ...]:
        """What the teachers are read from."""
        from featherlite.training.teachers.reference import STEP, references

        outside = [text for text in self.teacher if not text.startswith(STEP)]
        return tuple(file for one in references(outside, self.teacher_labels) for file in one.files())

    def earlier(self) -> tuple[str, ...]:
        """The recipe's steps among the teachers."""
        from featherlite.training.teachers.reference import steps_named

        return steps_named(self.teacher)

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
    room = Classroom(bundle, config, ctx)
    room.warn_of_size(count_parameters(network))
    val = load_photos(bundle, "val", ctx)
    judged = room.judge_teachers()
    train = room.photos(bundle.preprocess)
    guide = room.teaching()
    result = fit(network, train, val if len(val.labels) else None, config, ctx, guide)
    result.warn(ctx)
    ctx.record("distill", room.facts(judged, result.val_top1, len(val.labels)))
    return bundle.with_network(network_bytes(network))
