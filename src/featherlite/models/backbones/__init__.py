"""Backbones by name. Each file here is a family: `CARDS` (facts) and `build(order)`; adding a family is adding a file.

A family module imports Keras inside `build` alone, so that looking names up costs nothing. It may also define
`ready(model)`, which mends a loaded network in the ways its weights need before it is brought to the contract;
`torch_names(card)`, which maps the names of its layers to the modules of torchvision's or timm's state dict; and
`torch_weight(layer, value, shape)`, which turns a tensor of torch into a weight of that shape where axes alone do not.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, ModuleType

from featherlite.errors import RequestError, did_you_mean
from featherlite.models.backbones.card import OURS, TORCH, Card, Convention, Order

__all__ = ["OURS", "TORCH", "Card", "Convention", "Order", "backbones", "card_of", "check_order", "family_of"]


@cache
def _modules() -> Mapping[str, ModuleType]:
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for card in getattr(module, "CARDS", ()):
            if card.name in found:
                raise TypeError(f"two families define a backbone '{card.name}'")
            found[card.name] = module
    return MappingProxyType(found)


@cache
def backbones() -> Mapping[str, Card]:
    """Every backbone's card by name, sorted by family and size. Imports no Keras."""
    cards = {card.name: card for module in set(_modules().values()) for card in module.CARDS}
    ordered = sorted(cards.values(), key=lambda card: (card.family, card.parameters, card.name))
    return MappingProxyType({card.name: card for card in ordered})


def card_of(name: str) -> Card:
    """The card of the backbone of that name.

    Raises:
        RequestError: there is none; the nearest known name is suggested.
    """
    card = backbones().get(name)
    if card is None:
        raise RequestError(f"There is no backbone '{name}'.", did_you_mean(name, backbones()))
    return card


def family_of(card: Card) -> ModuleType:
    """The module that builds the backbone of that card."""
    return _modules()[card.name]


def check_order(order: Order) -> None:
    """Refuses what the card rules out, before anything is built.

    Raises:
        RequestError: an input too small or too large, an option that the backbone lacks, or a width without ImageNet
            weights.
    """
    card = order.card
    if min(order.height, order.width_px) < card.min_px:
        raise RequestError(
            f"{card.name} takes photos of at least {card.min_px} px; {order.height}x{order.width_px} was asked for.",
            f"Set input_px to {card.min_px} or more.",
        )
    if max(order.height, order.width_px) > card.max_px:
        raise RequestError(
            f"{card.name} takes photos of at most {card.max_px} px; {order.height}x{order.width_px} was asked for.",
            f"Set input_px to {card.max_px} or less.",
        )
    asked = {"width": order.width != 1.0, "depth": order.depth != 1.0, "stem_stride": order.stem_stride != 2}
    for option, used in asked.items():
        if used and option not in card.options:
            able = sorted(other.name for other in backbones().values() if option in other.options)
            raise RequestError(f"{card.name} has no option '{option}'.", f"These have it: {', '.join(able)}.")
    if order.imagenet and order.width not in card.imagenet_widths:
        widths = ", ".join(f"{width:g}" for width in card.imagenet_widths)
        raise RequestError(
            f"There are no ImageNet weights for {card.name} of width {order.width:g}.",
            f"There are for width {widths}." if widths else "Set weights to 'none' or to the path of a file.",
        )
