"""featherlite: a folder of photos in, the smallest classifier that still tells the species apart out.

Public names are loaded lazily: importing featherlite imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "featherlite.bundle",
    "Comparison": "featherlite.comparison",
    "Label": "featherlite.bundle",
    "FeatherliteError": "featherlite.errors",
    "Predictor": "featherlite.runtime.predictor",
    "Preprocess": "featherlite.preprocess",
    "Recipe": "featherlite.recipe",
    "load_recipe": "featherlite.recipe",
    "load_study": "featherlite.study.plan",
    "read_comparison": "featherlite.comparison",
    "run_recipe": "featherlite.run",
    "run_step": "featherlite.run",
    "walk_study": "featherlite.study.walk",
}

__all__ = [
    "Bundle",
    "Comparison",
    "FeatherliteError",
    "Label",
    "Predictor",
    "Preprocess",
    "Recipe",
    "__version__",
    "load_recipe",
    "load_study",
    "read_comparison",
    "run_recipe",
    "run_step",
    "walk_study",
]

if TYPE_CHECKING:
    from featherlite.bundle import Bundle, Label
    from featherlite.comparison import Comparison, read_comparison
    from featherlite.errors import FeatherliteError
    from featherlite.preprocess import Preprocess
    from featherlite.recipe import Recipe, load_recipe
    from featherlite.run import run_recipe, run_step
    from featherlite.runtime.predictor import Predictor
    from featherlite.study.plan import load_study
    from featherlite.study.walk import walk_study


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'featherlite' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)
