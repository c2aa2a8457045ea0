"""Namings: how torch's libraries name the layers of a backbone, and how their versions differ from Keras's.

`namings_of` knows a family by its file here, or by the `torch_names` of the family's own module. Importing it loads no
Keras, so a file's names can be compared with every backbone's.
"""

from __future__ import annotations

from featherlite.models.backbones import Card, family_of
from featherlite.models.weights.namings import convnext, efficientnet, mobilenet
from featherlite.models.weights.namings.naming import Naming

__all__ = ["Naming", "namings_of"]

TABLES = {"convnext": convnext.namings, "efficientnet": efficientnet.namings, "mobilenet": mobilenet.namings}


def namings_of(card: Card) -> tuple[Naming, ...]:
    """Every naming in which weights of that backbone are read; empty where there is none that fits it exactly."""
    family = family_of(card)
    if hasattr(family, "torch_names"):
        return (Naming("torchvision or timm", dict(family.torch_names(card))),)
    return TABLES[card.family](card) if card.family in TABLES else ()
