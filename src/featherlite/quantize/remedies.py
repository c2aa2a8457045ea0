"""What to do about a layer that loses in quantization, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from featherlite.models.layer_errors import ErrorReport, LayerError

__all__ = ["HARMFUL", "is_sound", "remedy", "verdict"]

HARMFUL: Final = 0.05
"""A layer with a smaller share in the logits' noise is not worth a change."""

QUIET_DB: Final = 30.0
"""Logits with less noise than this keep their order but where two classes are all but equal."""

CURVED: Final = ("elu", "gelu", "hard_swish", "hard_silu", "leaky_relu", "mish", "selu", "silu", "swish")
"""Activations with a long top and a shallow dip below zero, which few of int8's steps fall into."""

UNBOUNDED: Final = frozenset(name.replace("_", "") for name in ("prelu", "relu", "softplus", *CURVED))
"""Activations without a top, which `swap_activation` puts a bounded one in the place of."""

SIX: Final = 6.1
"""A range up to here is that of a ReLU6."""

FIXED: Final = ("L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH")
"""Operations whose outputs have one range in int8, whatever they are."""

STRETCHED: Final = 12.0
"""A range that is so many times as wide as the typical value leaves few steps to most values."""


def remedy(error: LayerError, facts: Mapping[str, Any]) -> str:
    """What would lower the noise that a layer adds; empty where it adds little. `facts` is export.json."""
    if error.harm < HARMFUL or error.input_snr_db is None:
        return ""
    cause = max(("clipping", "kernel", "rounding"), key=lambda name: float(getattr(error, name)))
    if cause == "clipping":
        return _clipping(error, facts)
    if cause == "kernel":
        return _kernel(error, facts)
    return _rounding(error, facts)


def is_sound(report: ErrorReport) -> bool:
    """Whether the artefact answers as the network does, with room to spare."""
    return report.agreement == 1.0 and report.logits_snr_db >= QUIET_DB


def verdict(report: ErrorReport, facts: Mapping[str, Any]) -> str:
    """The whole in a sentence or two. `facts` is export.json."""
    same = f"The artefact names {report.agreement:.1%} of {report.photos:,} photos as the float network does"
    ratio = f"its logits have {report.logits_snr_db:.0f} dB of signal to noise"
    if is_sound(report):
        return f"{same}, and {ratio}: there is nothing to mend."
    harmful = [one for one in report.worst(len(report.layers)) if one.harm >= HARMFUL]
    if not harmful:
        return f"{same}, and {ratio}. No single layer stands out. {_together(report, facts)}"
    names = ", ".join(f"'{one.layer}'" for one in harmful[:3])
    share = sum(one.harm for one in harmful[:3])
    few = "One layer brings" if len(harmful) == 1 else f"{min(3, len(harmful))} layers bring"
    return f"{same}, and {ratio}. {few} {share:.0%} of that noise: {names}."


def _together(report: ErrorReport, facts: Mapping[str, Any]) -> str:
    """What to do where many layers add a little each: what they have in common is what counts."""
    trained = _is_trained(facts)
    if any(_is_curved(one) for one in report.layers):
        again = ", with quantize_aware behind it again," if trained else ""
        return (
            "Its activations have long tops and are stored apart from their convolutions, whose outputs nothing "
            f"bounds: swap_activation to relu6{again} stores both as one, within 0 to 6."
        )
    shares: dict[str, float] = {}
    for one in report.layers:
        for kind in one.operations[-1:]:
            shares[kind] = shares.get(kind, 0.0) + one.harm
    kind, share = max(shares.items(), key=lambda item: item[1], default=("", 0.0))
    training = f"{'longer ' if trained else ''}quantize_aware training"
    way = training if report.export == "int16x8" else _more_steps(trained)
    return f"Many add a little each ({share:.0%} the {kind} operations): {way}."


def _is_curved(error: LayerError) -> bool:
    curved = error.activation in CURVED or "LOGISTIC" in error.operations or "GELU" in error.operations
    return curved and error.kind not in ("Multiply", "Dense") and error.activation not in ("sigmoid", "softmax")


def _clipping(error: LayerError, facts: Mapping[str, Any]) -> str:
    cut = f"{error.clipped:.2%} of its values lie beyond its range"
    # Training gives int8 its ranges; int16x8 takes its own from the photos, whatever the network.
    if _is_trained(facts) and facts.get("dtype") != "int16x8":
        return f"{cut}: train longer with quantize_aware, whose ranges these are."
    if facts.get("ranges") not in (None, "minmax"):
        return f"{cut}: quantize with ranges=minmax, or keep a higher percentile."
    return f"{cut}: take more photos into the representative set, as varied as those to come."


def _kernel(error: LayerError, facts: Mapping[str, Any]) -> str:
    rounded = "Its rounded weights bring the noise"
    # A dense kernel has one scale whatever the others have.
    shared = facts.get("kernels") == "tensor" and error.operations[-1] != "FULLY_CONNECTED"
    if _is_trained(facts):
        wider = ", with kernels=channel" if shared else ""
        return f"{rounded}: train longer with quantize_aware{wider}."
    if shared:
        return f"{rounded}: give each channel its own scale (kernels=channel), or equalize=true."
    if facts.get("corrected") is False and error.operations[-1].endswith("CONV_2D"):
        return f"{rounded}: quantize with correct=true, which makes up for their mean."
    if error.operations[-1] == "FULLY_CONNECTED" and error.role != "logits" and not facts.get("equalized_pairs"):
        return f"{rounded}: try equalize=true, else quantize_aware."
    if "DEPTHWISE_CONV_2D" in error.operations and not facts.get("equalized_pairs"):
        return f"{rounded}, few of them a channel: try equalize=true, else quantize_aware."
    return f"{rounded}: only quantize_aware training moves them to where rounding does no harm."


def _rounding(error: LayerError, facts: Mapping[str, Any]) -> str:
    if _is_curved(error):
        return "Its activation has a long top and a dip that few steps fall into: swap_activation to relu6."
    (low, high), trained = error.range or (0.0, 0.0), _is_trained(facts)
    given = error.operations[-1] in FIXED
    if error.typical > 0 and (high - low) > STRETCHED * error.typical and not given:
        wide = f"Its range ({low:.3g} to {high:.3g}) is stretched by a few large values"
        cuts = facts.get("ranges") == "minmax" and not trained and error.role != "logits"
        ways = ["quantize with ranges=percentile or ranges=mse"] if cuts else []
        ways += ["bound it with relu6 (swap_activation)"] if high > SIX and _is_unbounded(error) else []
        balanced = facts.get("equalized_pairs") or trained or not error.operations[-1].endswith("CONV_2D")
        ways += [] if balanced else ["equalize=true"]
        return f"{wide}: {', or '.join(ways or ['quantize_aware training'])}."
    if error.role == "squeeze_excite":
        return "Squeeze-and-excite multiplies two rounded values: a hard sigmoid, or removing it, loses less."
    well = "Its range is given by what it computes" if given else "It uses its range well"
    if facts.get("dtype") == "int16x8":
        way = "longer quantize_aware training" if trained else "quantize_aware"
        return f"{well}, in steps as fine as integers have them: {way}, or scheme=float16."
    return f"{well}; 255 steps are too few for it: {_more_steps(trained)}."


def _is_unbounded(error: LayerError) -> bool:
    """Whether the layer ends in an activation without a top: inline, or as what it is."""
    return bool(UNBOUNDED & {name.lower().replace("_", "") for name in (error.activation, error.kind)})


def _is_trained(facts: Mapping[str, Any]) -> bool:
    """Whether the network came with its quantization, so that `quantize` leaves its kernels as they are."""
    return facts.get("trained") is True or facts.get("ranges") == "trained"


def _more_steps(trained: bool) -> str:
    return f"{'longer ' if trained else ''}quantize_aware training, or scheme=int16x8"
