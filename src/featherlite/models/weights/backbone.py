"""Backbones on featherlite's contract, with their weights."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlite.errors import RequestError
from featherlite.models.backbones import Card, Convention, Order, check_order, family_of
from featherlite.models.weights.assigning import assign
from featherlite.models.weights.layout import laid_out
from featherlite.models.weights.matching import Match, match
from featherlite.models.weights.namings.naming import Layout
from featherlite.models.weights.reading import open_weights
from featherlite.models.weights.stored import Stored, Tensors
from featherlite.models.weights.torch import assign_torch

if TYPE_CHECKING:
    import keras

__all__ = ["build_backbone"]

Record = Callable[[str, Any], None]


def _unrecorded(key: str, value: Any) -> None:
    """Keeps nothing."""


def build_backbone(
    order: Order,
    *,
    weights: str = "none",
    after: str = "",
    layout: Layout | None = None,
    record: Record = _unrecorded,
) -> keras.Model:
    """A backbone on featherlite's contract: float32 [n, h, w, 3], (pixel - 128) / 128, to its feature map.

    `weights` is 'none', 'imagenet' or the path of a file. `after` names the layer behind which the network is cut;
    empty keeps all of it. `layout` says how a file of torch was trained where that shows neither in its name nor in a
    config.json beside it. `record` is told what was found out about such a file.

    Raises:
        RequestError: an option the backbone lacks, an input too small, weights that cannot be had or do not fit, or a
            cut where none is possible.
    """
    from featherlite.models.contract import to_contract

    order = replace(order, imagenet=weights == "imagenet")
    check_order(order)
    family = family_of(order.card)
    if weights == "none":
        return _cut(to_contract(family.build(order), None, order.card.name), after)
    if weights == "imagenet":
        return _cut(_folded(_download(order), order.card), after)
    with open_weights(Path(weights)) as stored:
        if isinstance(stored, Tensors):
            return _cut(_of_torch(order, stored, layout, record), after)
        return _of_keras(order, stored, after)


def _of_keras(order: Order, stored: Stored, after: str) -> keras.Model:
    from featherlite.models.contract import to_contract

    original = family_of(order.card).build(order)
    if stored.ours:
        network = _cut(to_contract(original, None, order.card.name), after)
        assign(network, stored, order.card)
        return network
    assign(original, stored, order.card)
    return _cut(_folded(original, order.card), after)


def _of_torch(order: Order, tensors: Tensors, layout: Layout | None, record: Record) -> keras.Model:
    from featherlite.models.contract import affine_of, to_contract

    card = order.card
    found = match(tensors, card, layout)
    original = laid_out(family_of(card).build(replace(order, torch=True)), found.naming)
    assign_torch(original, tensors, card, found)
    convention = card.torch_convention
    if tensors.mean:
        convention = _convention(tensors.mean, tensors.deviation)
    record("weights_naming", _told(found, tensors, convention))
    return to_contract(original, affine_of(convention), card.name)


def _convention(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Convention:
    """The input (x / 255 - mean) / deviation, channel by channel."""
    red, green, blue = zip(mean, deviation, strict=True)
    return Convention(
        scale=(1 / (255 * red[1]), 1 / (255 * green[1]), 1 / (255 * blue[1])),
        offset=(-red[0] / red[1], -green[0] / green[1], -blue[0] / blue[1]),
    )


def _told(found: Match, tensors: Tensors, convention: Convention) -> dict[str, Any]:
    """What was decided about a file of torch, as facts for the report."""
    return {
        "library": found.naming.library,
        "layout": found.naming.layout or "torch",
        "prefix": found.prefix,
        "architecture": tensors.architecture,
        "input": {"scale": convention.scale, "offset": convention.offset, "order": convention.order},
        "input_told_by": "config.json" if tensors.mean else "the backbone's card",
    }


def _cut(network: keras.Model, after: str) -> keras.Model:
    from featherlite.models.contract import cut

    return cut(network, after) if after else network


def _folded(original: keras.Model, card: Card) -> keras.Model:
    """The network with trained weights, its own input convention folded away."""
    from featherlite.models.contract import affine_of, built_in_affine, to_contract

    family = family_of(card)
    if hasattr(family, "ready"):
        family.ready(original)
    affine = affine_of(card.convention) if card.convention else built_in_affine(original)
    return to_contract(original, affine, card.name)


def _download(order: Order) -> keras.Model:
    """The network with ImageNet weights, fetched by keras.applications, which deletes what arrived in part."""
    try:
        # Keras tells of a download on stdout, which belongs to our answers.
        with contextlib.redirect_stdout(io.StringIO()):
            return family_of(order.card).build(order)
    except Exception as error:  # keras raises a bare Exception where a download fails, OSError where a file is cut off
        url = re.search(r"https?://[^\s:]+", str(error))
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        raise RequestError(
            f"The download of the ImageNet weights of {order.card.name} failed"
            f" ({'from ' + url[0] if url else reason[:200]}).",
            "Fetch that file on another machine and give its path as weights=PATH, or train from scratch with"
            f" weights=none. If {cache} holds a damaged file of an earlier attempt, delete it.",
        ) from error
