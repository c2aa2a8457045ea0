"""featherlite: a folder of photos in, the smallest classifier that still tells the species apart out.

Public names are loaded lazily: importing featherlite imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "featherlite.bundle",
    "Label": "featherlite.bundle",
    "FeatherliteError": "featherlite.errors",
    "Predictor": "featherlite.runtime.predictor",
    "Preprocess": "featherlite.preprocess",
    "Recipe": "featherlite.recipe",
    "load_recipe": "featherlite.recipe",
    "run_recipe": "featherlite.run",
    "run_step": "featherlite.run",
}

__all__ = [
    "Bundle",
    "FeatherliteError",
    "Label",
    "Predictor",
    "Preprocess",
    "Recipe",
    "__version__",
    "load_recipe",
    "run_recipe",
    "run_step",
]

if TYPE_CHECKING:
    from featherlite.bundle import Bundle, Label
    from featherlite.errors import FeatherliteError
    from featherlite.preprocess import Preprocess
    from featherlite.recipe import Recipe, load_recipe
    from featherlite.run import run_recipe, run_step
    from featherlite.runtime.predictor import Predictor


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'featherlite' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)
