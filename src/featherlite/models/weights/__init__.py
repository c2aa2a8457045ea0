"""Pretrained weights: none, ImageNet's, or a file, by path or from the Hugging Face hub, given to a backbone by name.

Files of Keras (`.weights.h5`, `.keras`, the older `.h5`) are read as HDF5 data, those of torch as safetensors in
torchvision's or timm's naming; neither needs torch. Nothing in a file is executed, and no pickle is opened. A file may
hold more than the backbone (a head, an optimizer), which is left alone. Nothing here imports Keras until it is called.
"""

from __future__ import annotations

from featherlite.models.weights.assigning import assign
from featherlite.models.weights.backbone import build_backbone
from featherlite.models.weights.hub import Fetched, UnreachableError, fetch_weights
from featherlite.models.weights.reading import open_weights
from featherlite.models.weights.source import NAMED_WEIGHTS, check_name, check_weights, hub_weights, weights_files
from featherlite.models.weights.stored import Stored

__all__ = [
    "NAMED_WEIGHTS",
    "Fetched",
    "Stored",
    "UnreachableError",
    "assign",
    "build_backbone",
    "check_name",
    "check_weights",
    "fetch_weights",
    "hub_weights",
    "open_weights",
    "weights_files",
]
