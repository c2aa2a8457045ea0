"""ConvNeXt-Tiny as timm, torchvision, and its authors name it.

Source of the names: the state dicts of timm 1.0 and torchvision 0.29, and github.com/facebookresearch/ConvNeXt. The
last norm stands behind the pooling in torch, and before it in keras.applications' network without top, which is what is
built here; its weights are the same.
"""

from __future__ import annotations

from featherlite.models.backbones import Card
from featherlite.models.weights.namings.naming import Naming

__all__ = ["namings"]

BLOCKS = (3, 3, 9, 3)
"""Blocks of each stage. Source: Liu et al. 2022, section 3."""
PARTS = ("depthwise_conv", "layernorm", "pointwise_conv_1", "pointwise_conv_2", "layer_scale")


def namings(_: Card) -> tuple[Naming, ...]:
    """The three namings, which differ in where a stage and its halving stand and in what a block's parts are called."""
    return (
        _naming(
            "timm",
            ("stem", "stages.1.downsample", "stages.2.downsample", "stages.3.downsample"),
            tuple(f"stages.{stage}.blocks" for stage in range(4)),
            ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
            "head.norm",
        ),
        _naming(
            "torchvision",
            ("features.0", "features.2", "features.4", "features.6"),
            ("features.1", "features.3", "features.5", "features.7"),
            ("block.0", "block.2", "block.3", "block.5", "layer_scale"),
            "classifier.0",
        ),
        _naming(
            "ConvNeXt",
            tuple(f"downsample_layers.{stage}" for stage in range(4)),
            tuple(f"stages.{stage}" for stage in range(4)),
            ("dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
            "norm",
        ),
    )


def _naming(
    library: str, halvings: tuple[str, ...], stages: tuple[str, ...], parts: tuple[str, ...], last: str
) -> Naming:
    """A naming from the modules of stem and halvings, of the stages, of a block's parts, and of the last norm."""
    prefix = "convnext_tiny"
    layers = {
        f"{prefix}_stem_conv": f"{halvings[0]}.0",
        f"{prefix}_stem_layernorm": f"{halvings[0]}.1",
        "layer_normalization": last,
    }
    for stage, halving in enumerate(halvings[1:]):
        layers[f"{prefix}_downsampling_layernorm_{stage}"] = f"{halving}.0"
        layers[f"{prefix}_downsampling_conv_{stage}"] = f"{halving}.1"
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            for ours, theirs in zip(PARTS, parts, strict=True):
                layers[f"{prefix}_stage_{stage}_block_{block}_{ours}"] = f"{stages[stage]}.{block}.{theirs}"
    return Naming(library, layers)
