"""Trains the network as its int8 artefact will compute: kernels and activations rounded, ranges learned along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.step import Context, step
from featherlite.training.config import Rate
from featherlite.training.teachers.config import TaughtConfig

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from featherlite.data.photos import PhotoSet
    from featherlite.quantize.scheme import Scheme

__all__ = ["QuantizeAwareConfig", "quantize_aware"]

_SERVES = {"range_pace": "learned", "range_momentum": "moving"}
"""Settings that serve one movement of the ranges alone."""


class QuantizeAwareConfig(TaughtConfig):
    """What is rounded, how the ranges move, and how the network is trained meanwhile."""

    kernels: Literal["channel", "tensor"] = Field(
        "channel",
        description="whether each channel of a convolution has a scale of its own, or all of a kernel share one",
    )
    ranges: Literal["minmax", "mse", "entropy"] = Field(
        "minmax", description="how the ranges of the activations are chosen at the start; as for quantize"
    )
    movement: Literal["learned", "moving", "fixed"] = Field(
        "learned",
        description="how they change; learned: by their gradient; moving: as a running "
        "average of the extremes; fixed: they stay as measured at the start",
    )
    range_pace: float = Field(
        10.0, gt=0, le=1000, description="movement learned: how many times as fast as the weights they move"
    )
    range_momentum: float = Field(0.99, gt=0, lt=1, description="movement moving: momentum of the running average")
    photos: int = Field(
        300, ge=1, le=100_000, description="training photos that the ranges are first measured on, class-balanced"
    )
    head_epochs: int = Field(0, ge=0, le=1000, description="epochs for the head alone; 0 skips them")
    epochs: int = Field(5, ge=0, le=10_000, description="epochs for all (or the unlocked) layers")
    rate: Rate | Literal["auto"] = Field(
        1e-4, description="peak learning rate of these epochs; auto: searched for once before them"
    )
    ema: Literal["auto", "none"] | float = Field(
        "none",
        description="momentum (above 0, below 1) of the weights' running average, which is then judged and kept; "
        "auto: an average over about one epoch; none: no average",
    )
    mixed_precision: Literal["auto"] | bool = Field(False, description="stays false here")

    idle: ClassVar[Mapping[str, str]] = {"mixed_precision": "bfloat16 has too few digits for the levels of int8"}

    @model_validator(mode="after")
    def _can_be_rounded(self) -> QuantizeAwareConfig:
        for key, movement in _SERVES.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.movement != movement:
                raise ValueError(
                    f"{key} is a setting of movement = '{movement}' and does nothing with '{self.movement}'"
                )
        return self


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def quantize_aware(bundle: Bundle, config: QuantizeAwareConfig, ctx: Context) -> Bundle:
    """The bundle with a network of folded BatchNorms, trained for int8, and quantization.json, which says its ranges.

    `quantize` converts it in just these ranges. The start is what `quantize` would make: kernels rounded, what that
    shifts corrected, ranges measured then. Validation judges the rounded network, so that what comes out is at least
    as good there.
    """
    from featherlite.data.photos import load_photos
    from featherlite.models.network import network_bytes
    from featherlite.quantize.scheme import with_scheme
    from featherlite.quantize.simulation import fake_quantized, settled
    from featherlite.training.fit import fit
    from featherlite.training.teachers.classroom import teaching_of

    teaching = teaching_of(bundle, config, ctx)
    train, val = load_photos(bundle, "train", ctx), load_photos(bundle, "val", ctx)
    judged = val if len(val.labels) else None
    network = _prepared(bundle, ctx)
    facts: dict[str, Any] = {"float_top1": _top1(network, judged), "movement": config.movement}
    photos = _representative(bundle, config, ctx)
    scheme, facts["corrected_layers"] = _begun(network, photos, config, ctx)
    simulated = fake_quantized(
        network, scheme, movement=config.movement, pace=config.range_pace, momentum=config.range_momentum
    )
    facts |= {"points": len(scheme.activations), "kernels": config.kernels, "rounded_top1": _top1(simulated, judged)}
    result = fit(simulated, train, judged, config, ctx, teaching())
    result.warn(ctx)
    trained = settled(network, simulated, scheme, "trained")
    facts |= {"trained_top1": result.val_top1, "moved": _moved(scheme, trained)}
    ctx.record("quantize_aware", facts)
    return with_scheme(bundle.with_network(network_bytes(network)), trained)


def _prepared(bundle: Bundle, ctx: Context) -> keras.Model:
    """The bundle's network with BatchNorms folded and every stored activation a layer of its own."""
    from featherlite.models.network import load_network
    from featherlite.models.surgery.folding import fold_batchnorm, unfolded_batchnorm
    from featherlite.quantize.points import apart
    from featherlite.quantize.simulation import unsimulated

    network = load_network(bundle)
    left = unfolded_batchnorm(network)
    network = apart(fold_batchnorm(network))
    for name, reason in left.items():
        ctx.warn(f"The BatchNorm '{name}' cannot be folded and is trained with frozen statistics: {reason}.")
        network.get_layer(name).trainable = False
    if others := [name for name in unsimulated(network) if name not in left]:
        shown = ", ".join(f"'{name}'" for name in others[:6]) + (" and others" if len(others) > 6 else "")
        ctx.warn(
            f"What {shown} compute inside is not rounded in training, only what they put out: the artefact may differ "
            "there by some levels. `swap_activation` and `fold` replace such layers."
        )
    return network


def _representative(bundle: Bundle, config: QuantizeAwareConfig, ctx: Context) -> NDArray[np.uint8]:
    """The photos that shifts and ranges are measured on: uint8 [n, height, width, 3]."""
    from featherlite.quantize.representative import representative_set

    representative = representative_set(bundle, config.photos, ctx.seed, ctx)
    facts = representative.facts()
    ctx.record("representative", {key: facts[key] for key in ("n", "seed", "hash")})
    return representative.photos


def _begun(
    network: keras.Model, photos: NDArray[np.uint8], config: QuantizeAwareConfig, ctx: Context
) -> tuple[Scheme, int]:
    """The scheme to begin with, and how many biases were corrected for what rounding shifts."""
    import numpy as np

    from featherlite.quantize.correction import correct
    from featherlite.quantize.measured import measured_scheme

    kernels = [(layer.kernel, np.asarray(layer.kernel)) for layer in network.layers if hasattr(layer, "kernel")]
    corrected = correct(network, photos, kernels=config.kernels)
    scheme = measured_scheme(network, photos, config.ranges, kernels=config.kernels, progress=ctx.progress)
    # They round to the same levels as they train; which of them are near the next one, they alone can say.
    for kernel, values in kernels:
        kernel.assign(values)
    return scheme, corrected


def _top1(network: keras.Model, val: PhotoSet | None) -> float | None:
    """Validation top-1 in 0..1; None without validation photos."""
    from featherlite.models.logits import network_logits

    if val is None:
        return None
    return float((network_logits(network, val.images).argmax(axis=1) == val.labels).mean())


def _moved(before: Scheme, after: Scheme) -> dict[str, float]:
    """By what factor the width of each point's range changed."""
    widths = [{name: high - low for name, (low, high) in scheme.activations.items()} for scheme in (before, after)]
    return {name: round(widths[1][name] / width, 4) for name, width in widths[0].items()}
