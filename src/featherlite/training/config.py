"""How a network is trained: one config, shared by every step that trains or retrains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from featherlite.step import StepConfig
from featherlite.training.augment.config import AugmentConfig

__all__ = ["FitConfig"]


class _Course(StepConfig):
    """How long, how fast and by what rules the weights change."""

    head_epochs: int = Field(20, ge=0, le=1000, description="epochs for the head alone; 0 skips them")
    head_rate: float = Field(3e-3, gt=0, le=1, description="peak learning rate of the head epochs")
    head_augment: bool = Field(
        False, description="augment in the head epochs too; else the backbone's features are computed once"
    )
    epochs: int = Field(20, ge=0, le=10_000, description="epochs for all (or the unlocked) layers")
    rate: float = Field(3e-3, gt=0, le=1, description="peak learning rate of these epochs")
    unlock: int | None = Field(
        None, ge=1, description="train only the last so many backbone layers that have weights; all where absent"
    )
    batch: int = Field(32, ge=1, le=4096, description="photos a step")
    schedule: Literal["one_cycle", "cosine", "constant"] = Field("one_cycle", description="course of the learning rate")
    warmup: float = Field(0.3, ge=0, lt=1, description="share of the steps in which the rate rises (not for constant)")
    weight_decay: float = Field(0.05, ge=0, le=1, description="AdamW's decoupled decay; biases and norms are spared")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of the target spread over all classes")
    clip_norm: float = Field(1.0, ge=0, description="limit of the gradient's global norm; 0 for none")
    ema: Literal["auto"] | float | None = Field(
        "auto",
        description="momentum (above 0, below 1) of the weights' running average, which is then judged and kept; "
        "auto: an average over about one epoch; none where absent",
    )
    patience: int = Field(0, ge=0, description="stop after so many epochs without a better one; 0 never stops early")
    freeze_batchnorm: Literal["auto"] | bool = Field(
        "auto", description="keep BatchNorm as it is when all layers train; auto: where a step has fewer than 8 photos"
    )
    mixed_precision: Literal["auto"] | bool = Field(
        "auto", description="compute in bfloat16; auto: on accelerators alone"
    )

    @field_validator("ema")
    @classmethod
    def _is_a_momentum(cls, value: str | float | None) -> str | float | None:
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError("must be 'auto' or lie between 0 and 1")
        return value


class FitConfig(AugmentConfig, _Course):
    """Head epochs on the frozen backbone, then all layers with AdamW; the best epoch by validation top-1 is kept."""
