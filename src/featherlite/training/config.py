"""How a network is trained: one config, shared by every step that trains or retrains."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from featherlite.step import StepConfig
from featherlite.training.augment.config import AugmentConfig

__all__ = ["FitConfig"]

Rate = Annotated[float, Field(gt=0, le=1)]


class _Course(StepConfig):
    """How long and how fast the weights change."""

    head_epochs: int = Field(20, ge=0, le=1000, description="epochs for the head alone; 0 skips them")
    head_rate: float = Field(3e-3, gt=0, le=1, description="peak learning rate of the head epochs")
    head_augment: bool = Field(
        False, description="augment in the head epochs too; else the backbone's features are computed once"
    )
    epochs: int = Field(20, ge=0, le=10_000, description="epochs for all (or the unlocked) layers")
    rate: Rate | Literal["auto"] = Field(
        3e-3, description="peak learning rate of these epochs; auto: searched for once before them"
    )
    batch: int = Field(32, ge=1, le=4096, description="photos a step; with accumulate: photos a micro-batch")
    accumulate: int = Field(
        1, ge=1, le=1024, description="micro-batches a step: as one batch of so many times the photos, in less memory"
    )
    schedule: Literal["one_cycle", "cosine", "constant", "plateau"] = Field(
        "one_cycle",
        description="course of the learning rate; plateau: lower it where the validation loss no longer falls",
    )
    warmup: float = Field(0.3, ge=0, lt=1, description="share of the steps in which the rate rises to its peak")
    plateau_patience: int = Field(
        3, ge=1, le=1000, description="schedule plateau: epochs without a lower validation loss before the rate falls"
    )
    plateau_factor: float = Field(0.3, gt=0, lt=1, description="schedule plateau: what the rate is multiplied by")
    patience: int = Field(
        0,
        ge=0,
        description="stop (with unlock_stages: go on to the next stage) after so many epochs without a better one, at "
        "the last size of progressive; 0 never stops early",
    )
    keep_epochs: bool = Field(
        False, description="keep the weights of every epoch, as NNN.weights.h5 in a folder that the report names"
    )


class _Layers(StepConfig):
    """Which layers change, at which size photos are seen, and in which precision."""

    unlock: int | None = Field(
        None, ge=1, description="train only the last so many backbone layers that have weights; all where absent"
    )
    unlock_stages: int = Field(
        0, ge=0, le=100, description="unlock the backbone block by block from its end, in so many stages; 0: at once"
    )
    unlock_rate_decay: float = Field(
        1.0, gt=0, le=1, description="each deeper stage's layers train at this share of the rate of those before"
    )
    progressive: tuple[Annotated[int, Field(ge=8)], ...] = Field(
        (),
        description="input sizes in px, rising to the network's own, for equal shares of the epochs with all layers",
    )
    progressive_augment: bool = Field(
        False, description="with progressive: augment smaller photos less, in proportion to the stage"
    )
    freeze_batchnorm: Literal["auto"] | bool = Field(
        "auto",
        description="keep BatchNorm as it is when all layers train; auto: where a micro-batch has fewer than 8 photos",
    )
    mixed_precision: Literal["auto"] | bool = Field(
        "auto", description="compute in bfloat16; auto: on accelerators alone"
    )

    @field_validator("progressive")
    @classmethod
    def _rises(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(first >= second for first, second in pairwise(value)):
            raise ValueError("must rise from size to size")
        return value


class _Rule(StepConfig):
    """By what rule the weights change."""

    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or SGD with Nesterov's momentum")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(0.05, ge=0, le=1, description="decoupled decay; biases and norms are spared")
    l2: float = Field(
        0.0, ge=0, le=1, description="times the sum of all squared kernels in the loss; biases and norms are spared"
    )
    cosine: Literal["none", "absolute", "article"] = Field(
        "none",
        description="regularize the kernels for int8; absolute: absolute-cosine, 0 where each weight lies on a level "
        "of the integers that int8 will have; article: a product of neighboring weights, which goes by the same name",
    )
    cosine_weight: float = Field(
        0.1, gt=0, le=1000, description="weight of cosine in the loss; absolute is 0.64 where weights lie anyhow"
    )
    cosine_bits: int = Field(8, ge=2, le=8, description="cosine absolute: bits of the integers whose levels are meant")
    clip_norm: float = Field(1.0, ge=0, description="limit of the gradient's global norm; 0 for none")
    clip_value: float = Field(0.0, ge=0, description="limit of each number in the gradient, before its norm; 0: none")
    ema: Literal["auto", "none"] | float = Field(
        "auto",
        description="momentum (above 0, below 1) of the weights' running average, which is then judged and kept; "
        "auto: an average over about one epoch; none: no average",
    )

    @field_validator("ema")
    @classmethod
    def _is_a_momentum(cls, value: str | float) -> str | float:
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError("must be 'auto', 'none' or lie between 0 and 1")
        return value

    def momentum_of_average(self, steps: int) -> float | None:
        """The momentum of the weights' average in a phase of so many steps an epoch; None where there is none."""
        if isinstance(self.ema, float):
            return self.ema
        # A running average with momentum 1 - 1/n spans about the last n steps.
        return 1 - 1 / max(2, steps) if self.ema == "auto" else None


class _Loss(StepConfig):
    """What counts as wrong, and how often and how much each class counts."""

    loss: Literal["crossentropy", "focal"] = Field(
        "crossentropy", description="what is minimized; focal: photos that are known already count less"
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="how much less; 0 is crossentropy")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target spread over all classes")
    class_weights: Literal["none", "balanced", "effective"] = Field(
        "none",
        description="weight of a class in the loss; balanced: by 1 over its photos; effective: by their effective "
        "number, which grows ever slower",
    )
    effective_beta: float = Field(
        0.999, ge=0, lt=1, description="class_weights effective: 0 weighs all classes alike, nearly 1 is balanced"
    )
    sampling: Literal["uniform", "balanced", "square_root"] = Field(
        "uniform",
        description="photos of an epoch; uniform: each once; balanced: as many of every class; square_root: between",
    )


_SERVES = {
    "momentum": ("optimizer", "sgd"),
    "plateau_patience": ("schedule", "plateau"),
    "plateau_factor": ("schedule", "plateau"),
    "focal_gamma": ("loss", "focal"),
    "effective_beta": ("class_weights", "effective"),
    "cosine_bits": ("cosine", "absolute"),
}
"""Settings that serve one choice alone."""


class FitConfig(AugmentConfig, _Loss, _Rule, _Layers, _Course):
    """Head epochs on the frozen backbone, then all layers; the best epoch by validation top-1 is kept."""

    @model_validator(mode="after")
    def _nothing_idle(self) -> FitConfig:
        """Refuses a setting that would do nothing: whoever gives it means something by it."""
        fields = type(self).model_fields
        for key, (choice, wanted) in _SERVES.items():
            chosen = getattr(self, choice)
            if getattr(self, key) != fields[key].default and chosen != wanted:
                raise ValueError(f"{key} is a setting of {choice} = '{wanted}' and does nothing with '{chosen}'")
        if self.unlock_rate_decay != 1 and not self.unlock_stages:
            raise ValueError("unlock_rate_decay does nothing without unlock_stages")
        if self.cosine == "none" and self.cosine_weight != fields["cosine_weight"].default:
            raise ValueError("cosine_weight does nothing without cosine")
        if self.progressive_augment and not self.progressive:
            raise ValueError("progressive_augment does nothing without progressive")
        return self
