"""A network made ready for conversion: folded and balanced where asked, corrected, its ranges measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.models.artefact import Making
from featherlite.models.convert import CALIBRATED
from featherlite.models.network import load_network, network_bytes
from featherlite.models.surgery.rebuild import nodes_of
from featherlite.quantize.representative import Representative, evenly, representative_set
from featherlite.quantize.scheme import QUANTIZATION, Scheme, read_scheme
from featherlite.step import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from featherlite.quantize.quantize import QuantizeConfig

__all__ = ["Prepared", "prepare"]

CONVERTED = 300
"""Photos that the converter is shown, at most, where the ranges are known: it asks for those inside of layers alone."""
LEFT_FLOAT = 1024
"""Kernels of fewer weights than this the converter leaves in float32 where weights alone become integers."""


@dataclass(frozen=True)
class Prepared:
    """What is converted, the facts about it for export.json, and the files that go beside the artefact."""

    making: Making
    facts: Mapping[str, Any]
    files: Mapping[str, bytes]
    trained: bool = False
    """whether the ranges came with the network"""


def prepare(bundle: Bundle, config: QuantizeConfig, seed: int, ctx: Context) -> Prepared:
    """What the artefact is made from, with the representative set of that seed.

    Raises:
        RequestError: settings that quantization.json, which came with the network, leaves no room for, or that the
            converter has no way to obey; a layer that the network uses more than once, which has no one range.
    """
    given = read_scheme(bundle)
    trained = {} if given is None else {"trained": True}
    if config.scheme == "float16":
        return Prepared(Making(plan_memory=config.plan_memory), trained, {})
    if given is not None:
        _refuse_other(config, given)
        if config.scheme == "int8":
            return _trained(bundle, config, given, seed, ctx)
        config = config.model_copy(update={"kernels": given.kernels})
    if config.scheme == "int16x8" and config.kernels == "tensor" and _has_depthwise(bundle):
        config = _by_channel(config, ctx, trained=given is not None)
    facts: dict[str, Any] = {"kernels": config.kernels} | trained
    chosen = _chosen(bundle, config, seed, ctx, shows_ranges=config.scheme in CALIBRATED)
    # A network trained for its rounding has nothing to correct.
    network, changes = _changed(bundle, config, chosen, ctx, correct=config.correct and given is None)
    facts |= {"representative": chosen.facts(), "corrected": config.correct and given is None} | changes
    scheme = _measured(network, config, chosen, ctx) if config.scheme == "int8" else None
    if scheme is not None:
        facts["ranges"] = config.ranges
    making = Making(
        representative=_shown(chosen, scheme) if config.scheme in CALIBRATED else None,
        network=network_bytes(network),
        kernels=config.kernels,
        ranges=None if scheme is None else scheme.activations,
        plan_memory=config.plan_memory and config.scheme in CALIBRATED,  # no microcontroller takes weights alone
    )
    return Prepared(making, facts, {} if scheme is None else {QUANTIZATION: _json(scheme)})


def _shown(chosen: Representative, scheme: Scheme | None) -> NDArray[np.uint8]:
    """What the converter calibrates on: all of it where nothing was measured before."""
    return chosen.photos if scheme is None else evenly(chosen.photos, CONVERTED)


def _has_depthwise(bundle: Bundle) -> bool:
    return any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in load_network(bundle).layers)


def _by_channel(config: QuantizeConfig, ctx: Context, *, trained: bool) -> QuantizeConfig:
    """The settings with a scale for each channel, which alone TensorFlow gives a depthwise kernel in int16x8.

    Raises:
        RequestError: one scale for each kernel is not what the network came with, but what was asked for.
    """
    why = "TensorFlow cannot give a depthwise kernel one scale for all of it in int16x8"
    if not trained:
        raise RequestError(f"{why}, and this network has some.", "Leave kernels out.")
    ctx.warn(f"{why}: each channel has one of its own, though the network was trained with kernels='tensor'.")
    return config.model_copy(update={"kernels": "channel"})


def _refuse_other(config: QuantizeConfig, scheme: Scheme) -> None:
    """Refuses what would change the network from what it was trained to be.

    Raises:
        RequestError: a setting would.
    """
    fields = type(config).model_fields
    for key in ("ranges", "equalize"):
        if getattr(config, key) != fields[key].default:
            raise RequestError(
                f"{key} does not fit: the network came with {QUANTIZATION}, whose ranges it was trained for.",
                f"Leave {key} out, or quantize the bundle from before that training.",
            )
    if "kernels" in config.model_fields_set and config.kernels != scheme.kernels:
        raise RequestError(
            f"kernels='{config.kernels}' does not fit: the network was trained with kernels='{scheme.kernels}'.",
            "Leave kernels out.",
        )


def _trained(bundle: Bundle, config: QuantizeConfig, scheme: Scheme, seed: int, ctx: Context) -> Prepared:
    """The network as it is, in the ranges that came with it."""
    chosen = _chosen(bundle, config, seed, ctx, shows_ranges=False)
    facts = {
        "trained": True,
        "kernels": scheme.kernels,
        "representative": chosen.facts(),
        "corrected": False,
        "ranges": scheme.method,
    }
    making = Making(
        representative=_shown(chosen, scheme),
        kernels=scheme.kernels,
        ranges=scheme.activations,
        plan_memory=config.plan_memory,
    )
    return Prepared(making, facts, {QUANTIZATION: _json(scheme)}, trained=True)


def _chosen(bundle: Bundle, config: QuantizeConfig, seed: int, ctx: Context, *, shows_ranges: bool) -> Representative:
    chosen = representative_set(bundle, config.photos, seed, ctx, shows_ranges=shows_ranges)
    ctx.record("representative", {key: chosen.facts()[key] for key in ("n", "seed", "hash")})
    return chosen


def _changed(
    bundle: Bundle, config: QuantizeConfig, chosen: Representative, ctx: Context, *, correct: bool
) -> tuple[keras.Model, dict[str, Any]]:
    """The network to convert, and what was done to it."""
    network, facts = load_network(bundle), {}
    nodes_of(network)  # a layer with two uses has two outputs, and would get the range and correction of one
    if config.equalize or config.kernels == "tensor":
        from featherlite.models.surgery.folding import fold_batchnorm

        network = fold_batchnorm(network)
    if config.equalize:
        from featherlite.quantize.equalization import equalize

        facts["equalized_pairs"] = equalize(network, chosen.photos)
        ctx.record("equalized_pairs", facts["equalized_pairs"])
        if not facts["equalized_pairs"]:
            ctx.warn("No two layers could be equalized: between all of them stands more than a ReLU or ReLU6.")
    if correct:
        _correct(network, chosen, config, ctx)
    return network, facts


def _correct(network: keras.Model, chosen: Representative, config: QuantizeConfig, ctx: Context) -> None:
    from featherlite.quantize.correction import correct

    least = LEFT_FLOAT if config.scheme == "int8-weights" else 0
    ctx.progress.start("correcting", len(network.layers))
    ctx.record("corrected_layers", correct(network, chosen.photos, ctx.progress.advance, config.kernels, least))
    ctx.progress.finish()


def _measured(network: keras.Model, config: QuantizeConfig, chosen: Representative, ctx: Context) -> Scheme:
    from featherlite.quantize.measured import measured_scheme
    from featherlite.quantize.ranges import settings_of

    settings = {key: getattr(config, key) for key in settings_of(config.ranges)}
    return measured_scheme(
        network, chosen.photos, config.ranges, settings, kernels=config.kernels, progress=ctx.progress
    )


def _json(scheme: Scheme) -> bytes:
    return scheme.model_dump_json(indent=1).encode() + b"\n"
