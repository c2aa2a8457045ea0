"""Which layers of a network train in a phase, and in which order its blocks unlock."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from featherlite.errors import RequestError
from featherlite.models.contract import cut_points
from featherlite.training.config import FitConfig
from featherlite.training.features import HEAD
from featherlite.training.plan import Phase, plan

__all__ = ["choose_layers", "phases_of", "rate_factors", "unlock_groups"]

FEW_PHOTOS = 8
"""Below this many photos a step, batch statistics are too noisy for BatchNorm to learn from."""

RANGE_ENDS = ("range_low", "range_high")
"""The weights of a layer that rounds what another puts out (`quantize.fake_quantization`)."""


def phases_of(network: keras.Model, config: FitConfig) -> list[Phase]:
    """The phases that this config asks of this network; a network without head layers has no head phase.

    Raises:
        RequestError: it has fewer blocks than stages are asked for.
    """
    has_head = any(layer.name.startswith(HEAD) and layer.weights for layer in network.layers)
    return plan(config, has_head, unlock_groups(network, config))


def unlock_groups(network: keras.Model, config: FitConfig) -> list[list[str]]:
    """Names of the backbone layers that have weights and may train, by stage, the first one at the backbone's end.

    The learned ranges of a network that trains for int8 do not count: each goes with the layer before it.

    Source: J. Howard and S. Ruder, "Universal Language Model Fine-tuning" (arXiv:1801.06146), section 3.2, "gradual
    unfreezing"; with `unlock_rate_decay` also their "discriminative fine-tuning".

    Raises:
        RequestError: there are fewer blocks than stages.
    """
    backbone = [layer for layer in network.layers if not layer.name.startswith(HEAD)]
    together = _with_ranges(backbone)
    allowed = list(together)[-config.unlock :] if config.unlock else list(together)
    if config.unlock_stages <= 1:
        return [[name for first in allowed for name in together[first]]]
    ends, blocks = set(cut_points(network)), [list[str]()]
    for layer in backbone:
        if layer.name in allowed:
            blocks[-1] += together[layer.name]
        if layer.name in ends:
            blocks.append([])
    blocks = [block for block in reversed(blocks) if block]
    if len(blocks) < config.unlock_stages:
        raise RequestError(
            f"unlock_stages is {config.unlock_stages}, and '{network.name}' has {len(blocks)} blocks that may train.",
            f"Take at most {len(blocks)}.",
        )
    parts = np.array_split(np.arange(len(blocks)), config.unlock_stages)
    return [[name for place in part.tolist() for name in blocks[place]] for part in parts]


def _with_ranges(layers: Sequence[keras.Layer]) -> dict[str, list[str]]:
    """By the name of each layer with weights: it, and the layers behind it that hold nothing but a range's ends."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        if not layer.weights:
            continue
        if found and all(weight.name in RANGE_ENDS for weight in layer.weights):
            found[next(reversed(found))].append(layer.name)
        else:
            found[layer.name] = [layer.name]
    return found


def choose_layers(network: keras.Model, phase: Phase, config: FitConfig, photos: int, flags: Sequence[bool]) -> None:
    """Sets which layers train in this phase; `flags` are those the network came with, which are never widened."""
    step = min(config.batch, -(-photos // config.accumulate))  # a micro-batch: BatchNorm sees no more at a time
    frozen_norms = config.freeze_batchnorm is True or (config.freeze_batchnorm == "auto" and step < FEW_PHOTOS)
    for layer, flag in zip(network.layers, flags, strict=True):
        frozen = not layer.name.startswith(HEAD) and (
            layer.name not in phase.layers or (frozen_norms and isinstance(layer, keras.layers.BatchNormalization))
        )
        layer.trainable = flag and not frozen


def rate_factors(network: keras.Model, phase: Phase) -> dict[int, float]:
    """The share of the rate of every trainable weight that does not have all of it, by `id`."""
    return {
        id(weight): phase.layers[layer.name]
        for layer in network.layers
        if phase.layers.get(layer.name, 1.0) != 1.0
        for weight in layer.trainable_variables
    }
