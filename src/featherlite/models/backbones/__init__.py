"""Backbones by name. Each file here is a family: `CARDS` (facts) and `build(order)`; adding a family is adding a file.

A family module imports Keras inside `build` alone, so that looking names up costs nothing. It may also define
`ready(model)`, which mends a loaded network in the ways its weights need before it is brought to the contract.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, ModuleType

from featherlite.errors import RequestError, did_you_mean
from featherlite.models.backbones.card import OURS, Card, Convention, Order

__all__ = ["OURS", "Card", "Convention", "Order", "backbones", "card_of", "family_of"]


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
