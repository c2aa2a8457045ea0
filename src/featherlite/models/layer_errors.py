"""What quantization costs a network, as figures: a document of one artefact, with an entry for each layer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ErrorReport", "LayerError", "Role"]

Role = Literal["", "logits", "squeeze_excite"]


class LayerError(BaseModel):
    """One tensor of the artefact. Ratios are in dB, shares in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    kind: str = Field(description="the layer's class in Keras")
    activation: str = Field(description="what the layer applies at its end; 'linear' where nothing")
    operations: tuple[str, ...] = Field(description="what computes it in the artefact")
    role: Role = Field("", description="what it is to the network, where advice differs")
    shape: tuple[int, ...]
    range: tuple[float, float] | None = Field(description="lowest and highest number that can be stored")
    largest: float = Field(description="the largest magnitude in the float network")
    typical: float = Field(description="the root of the mean square there")
    snr_db: float = Field(description="signal to noise, everything before it included")
    input_snr_db: float | None = Field(description="the lowest of its inputs; None at the input itself")
    own_snr_db: float = Field(description="signal to the noise that arises here")
    at_low: float = Field(description="values at the lowest number")
    at_high: float = Field(description="values at the highest number")
    clipped: float = Field(description="values that would lie outside of the range")
    rounding: float = Field(description="share of its own noise that comes from storing within the range")
    clipping: float = Field(description="share that comes from cutting off")
    kernel: float = Field(description="share that comes from rounded weights and all else")
    harm: float = Field(description="its share in the logits' noise, of all layers' together")
    logits_snr_db: float = Field(description="the logits' signal to noise if nothing else were quantized")
    flips: float = Field(description="photos whose answer this alone changes")
    remedy: str = Field(description="what to do about it; empty where it does no harm")

    @property
    def drop_db(self) -> float:
        """By how much the ratio falls from the worst of its inputs to it."""
        return 0.0 if self.input_snr_db is None else self.input_snr_db - self.snr_db


class ErrorReport(BaseModel):
    """What an artefact loses against its network, as a whole and layer by layer in the order of execution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    export: str
    split: str
    photos: int
    logits_snr_db: float
    agreement: float = Field(description="photos that both name alike")
    top1_float: float
    top1_export: float
    probed: int = Field(description="photos, of them, on which the layers' harm and flips were found")
    explained: float = Field(description="the layers' own noise at the logits, added up, over the noise there")
    equalized: bool = Field(description="whether channels were scaled back before they were compared")
    verdict: str
    layers: tuple[LayerError, ...]

    def worst(self, most: int) -> tuple[LayerError, ...]:
        """The layers that hurt the logits most, the worst first."""
        return tuple(sorted(self.layers, key=lambda one: -one.harm)[:most])
