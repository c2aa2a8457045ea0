"""Who teaches a network beside the labels, and how: one config, shared by every step that listens to a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from featherlite.training.config import FitConfig

__all__ = ["TaughtConfig"]


class TaughtConfig(FitConfig):
    """How a network is trained, by labels and by teachers."""

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

    @field_validator("teacher", "teacher_labels", mode="before")
    @classmethod
    def _as_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _can_be_taught(self) -> TaughtConfig:
        if self.alpha == 1 and self.kind in ("features", "own_labels"):
            raise ValueError(f"alpha = 1 with kind = {self.kind} would never teach the head: take an alpha below 1")
        if self.teacher and self.progressive and self.progressive_augment:
            raise ValueError(
                "progressive_augment changes the cuts from stage to stage, which a teacher does not follow"
            )
        if self.teacher and self.augment > 0 and (self.mixup > 0 or self.cutmix > 0):
            raise ValueError(
                "mixup and cutmix blend pairs that change each epoch, while a teacher speaks of single photos: "
                "set both to 0"
            )
        return self

    @model_validator(mode="after")
    def _none_is_missed(self) -> TaughtConfig:
        fields = type(self).model_fields
        of_teachers = [key for key in TaughtConfig.model_fields if key not in FitConfig.model_fields]
        given = [key for key in of_teachers if getattr(self, key) != fields[key].default]
        if given and not self.teacher and not self.lacking():
            raise ValueError(f"{given[0]} does nothing without a teacher")
        return self

    def files(self) -> tuple[Path, ...]:
        """What the teachers are read from."""
        from featherlite.training.teachers.reference import STEP, references

        outside = [text for text in self.teacher if not text.startswith(STEP)]
        return tuple(file for one in references(outside, self.teacher_labels) for file in one.files())

    def earlier(self) -> tuple[str, ...]:
        """The recipe's steps among the teachers."""
        from featherlite.training.teachers.reference import steps_named

        return steps_named(self.teacher)
