"""EfficientNet B0 to B3 and V2-B0 as timm and torchvision name them.

Source of names and figures: the state dicts and constructors of timm 1.0 (`efficientnet_b0`, `tf_efficientnet_b0`,
`tf_efficientnetv2_b0`, ...) and torchvision 0.29. Those that were trained in torch pad alike on all sides and have a
BatchNorm epsilon of 1e-5; timm's `tf_` ones were converted from TensorFlow and keep its padding and 1e-3. Both bear
the same names and shapes. V2-B0 exists as a `tf_` one alone.
"""

from __future__ import annotations

import math

from featherlite.models.backbones import Card
from featherlite.models.weights.namings.naming import Naming

__all__ = ["namings"]

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage of B0. Source: Tan and Le 2019, table 1."""
DEPTHS = {"EfficientNetB0": 1.0, "EfficientNetB1": 1.1, "EfficientNetB2": 1.2, "EfficientNetB3": 1.4}
V2_BLOCKS = (1, 2, 2, 3, 5, 8)
V2_FUSED = 3
"""Stages of V2-B0 whose blocks are fused. Source: Tan and Le 2021, section 3.2; timm's `_gen_efficientnetv2_base`."""


def namings(card: Card) -> tuple[Naming, ...]:
    """What fits the card: three for B0 to B3, one for V2-B0."""
    if card.name == "EfficientNetV2B0":
        return (Naming("timm", _timm_ends() | _timm_v2(), "tensorflow", 1e-3),)
    blocks = [math.ceil(count * DEPTHS[card.name]) for count in BLOCKS]
    timm = _timm_ends() | _timm(blocks)
    return (
        Naming("timm", timm, "torch", 1e-5),
        Naming("timm", timm, "tensorflow", 1e-3),
        Naming("torchvision", _torchvision(blocks), "torch", 1e-5),
    )


def _timm_ends() -> dict[str, str]:
    return {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}


def _timm(blocks: list[int]) -> dict[str, str]:
    layers: dict[str, str] = {}
    for stage, count in enumerate(blocks):
        for block in range(count):
            ours, theirs = f"block{stage + 1}{_letter(block)}", f"blocks.{stage}.{block}"
            layers |= _squeezed(ours, f"{theirs}.se.conv_reduce", f"{theirs}.se.conv_expand")
            layers |= _inverted(ours, theirs, "dwconv") if stage else _separable(ours, theirs)
    return layers


def _inverted(ours: str, theirs: str, depthwise: str) -> dict[str, str]:
    return {
        f"{ours}_expand_conv": f"{theirs}.conv_pw",
        f"{ours}_expand_bn": f"{theirs}.bn1",
        f"{ours}_{depthwise}": f"{theirs}.conv_dw",
        f"{ours}_bn": f"{theirs}.bn2",
        f"{ours}_project_conv": f"{theirs}.conv_pwl",
        f"{ours}_project_bn": f"{theirs}.bn3",
    }


def _separable(ours: str, theirs: str) -> dict[str, str]:
    """A block that does not expand: its second convolution is called otherwise."""
    return {
        f"{ours}_dwconv": f"{theirs}.conv_dw",
        f"{ours}_bn": f"{theirs}.bn1",
        f"{ours}_project_conv": f"{theirs}.conv_pw",
        f"{ours}_project_bn": f"{theirs}.bn2",
    }


def _squeezed(ours: str, reduce: str, expand: str) -> dict[str, str]:
    return {f"{ours}_se_reduce": reduce, f"{ours}_se_expand": expand}


def _timm_v2() -> dict[str, str]:
    layers = {"block1a_project_conv": "blocks.0.0.conv", "block1a_project_bn": "blocks.0.0.bn1"}
    for stage, count in enumerate(V2_BLOCKS[1:], start=1):
        for block in range(count):
            ours, theirs = f"block{stage + 1}{_letter(block)}", f"blocks.{stage}.{block}"
            if stage < V2_FUSED:
                layers |= {
                    f"{ours}_expand_conv": f"{theirs}.conv_exp",
                    f"{ours}_expand_bn": f"{theirs}.bn1",
                    f"{ours}_project_conv": f"{theirs}.conv_pwl",
                    f"{ours}_project_bn": f"{theirs}.bn2",
                }
            else:
                layers |= _inverted(ours, theirs, "dwconv2")
                layers |= _squeezed(ours, f"{theirs}.se.conv_reduce", f"{theirs}.se.conv_expand")
    return layers


def _torchvision(blocks: list[int]) -> dict[str, str]:
    """Names of torchvision: parts are counted, and a block that does not expand has one part less."""
    end = len(blocks) + 1
    layers = {"stem_conv": "features.0.0", "stem_bn": "features.0.1"}
    layers |= {"top_conv": f"features.{end}.0", "top_bn": f"features.{end}.1"}
    for stage, count in enumerate(blocks):
        for block in range(count):
            ours, theirs = f"block{stage + 1}{_letter(block)}", f"features.{stage + 1}.{block}.block"
            if stage:
                layers |= {f"{ours}_expand_conv": f"{theirs}.0.0", f"{ours}_expand_bn": f"{theirs}.0.1"}
            at = 1 if stage else 0
            layers |= {f"{ours}_dwconv": f"{theirs}.{at}.0", f"{ours}_bn": f"{theirs}.{at}.1"}
            layers |= _squeezed(ours, f"{theirs}.{at + 1}.fc1", f"{theirs}.{at + 1}.fc2")
            layers |= {f"{ours}_project_conv": f"{theirs}.{at + 2}.0", f"{ours}_project_bn": f"{theirs}.{at + 2}.1"}
    return layers


def _letter(block: int) -> str:
    return chr(ord("a") + block)
