"""MobileNetV2 and V3 as timm and torchvision name them.

Source of names and figures: the state dicts and constructors of timm 1.0 (`mobilenetv2_100`, `mobilenetv3_large_100`,
`tf_mobilenetv3_large_100`, ...) and torchvision 0.29. BatchNorm's epsilon is 1e-5 where they were trained in torch, but
1e-3 in torchvision's V3; timm's `tf_` ones keep TensorFlow's padding and 1e-3. V1 is not published in either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from featherlite.models.backbones import Card
from featherlite.models.weights.namings.naming import Naming

__all__ = ["namings"]


@dataclass(frozen=True)
class _Block:
    """One block: its place in the chain and in timm's stages, and the parts that it has."""

    index: int
    stage: int
    place: int
    expands: bool
    squeezes: bool


V2_STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of each stage. Source: Sandler et al. 2018, table 2."""
LARGE_STAGES = (1, 2, 3, 4, 2, 3)
LARGE_SQUEEZES = (3, 4, 5, 10, 11, 12, 13, 14)
SMALL_STAGES = (1, 2, 3, 2, 3)
SMALL_SQUEEZES = (0, 3, 4, 5, 6, 7, 8, 9, 10)
"""Blocks with squeeze-and-excite. Source: Howard et al. 2019, tables 1 and 2; stages are timm's."""


def namings(card: Card) -> tuple[Naming, ...]:
    """What fits the card: two for V2, three for V3, none for V1."""
    if card.name == "MobileNetV2":
        blocks = list(_blocks(V2_STAGES, ()))
        return (
            Naming("timm", _timm_v2(blocks), "torch", 1e-5),
            Naming("torchvision", _torchvision_v2(blocks), "torch", 1e-5),
        )
    if card.name in ("MobileNetV3Large", "MobileNetV3Small"):
        large = card.name.endswith("Large")
        stages, squeezes = (LARGE_STAGES, LARGE_SQUEEZES) if large else (SMALL_STAGES, SMALL_SQUEEZES)
        blocks = list(_blocks(stages, squeezes))
        timm = _timm_v3(blocks, len(stages))
        return (
            Naming("timm", timm, "torch", 1e-5),
            Naming("timm", timm, "tensorflow", 1e-3),
            Naming("torchvision", _torchvision_v3(blocks), "torch", 1e-3),
        )
    return ()


def _blocks(stages: tuple[int, ...], squeezes: tuple[int, ...]) -> Iterator[_Block]:
    index = 0
    for stage, count in enumerate(stages):
        for place in range(count):
            yield _Block(index, stage, place, index > 0, index in squeezes)
            index += 1


def _named_v2(block: _Block) -> tuple[str, ...]:
    """Keras's names of a block's convolutions and norms, in order."""
    ours = f"block_{block.index}" if block.index else "expanded_conv"
    parts = ("expand", "depthwise", "project") if block.expands else ("depthwise", "project")
    return tuple(f"{ours}_{part}{kind}" for part in parts for kind in ("", "_BN"))


def _named_v3(block: _Block) -> tuple[str, ...]:
    ours = f"expanded_conv_{block.index}" if block.index else "expanded_conv"
    parts = ("expand", "depthwise", "project") if block.expands else ("depthwise", "project")
    return tuple(f"{ours}_{part}{kind}" for part in parts for kind in ("", "_bn"))


def _named_timm(block: _Block) -> tuple[str, ...]:
    parts = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    short = ("conv_dw", "bn1", "conv_pw", "bn2")
    return tuple(f"blocks.{block.stage}.{block.place}.{part}" for part in (parts if block.expands else short))


def _timm_v2(blocks: list[_Block]) -> dict[str, str]:
    layers = {"Conv1": "conv_stem", "bn_Conv1": "bn1", "Conv_1": "conv_head", "Conv_1_bn": "bn2"}
    for block in blocks:
        layers |= dict(zip(_named_v2(block), _named_timm(block), strict=True))
    return layers


def _torchvision_v2(blocks: list[_Block]) -> dict[str, str]:
    end = len(blocks) + 1
    layers = {"Conv1": "features.0.0", "bn_Conv1": "features.0.1"}
    layers |= {"Conv_1": f"features.{end}.0", "Conv_1_bn": f"features.{end}.1"}
    for block in blocks:
        # Each activated convolution is a pair; the last convolution and its norm stand bare.
        parts = ("0.0", "0.1", "1.0", "1.1", "2", "3") if block.expands else ("0.0", "0.1", "1", "2")
        theirs = tuple(f"features.{block.index + 1}.conv.{part}" for part in parts)
        layers |= dict(zip(_named_v2(block), theirs, strict=True))
    return layers


def _timm_v3(blocks: list[_Block], stages: int) -> dict[str, str]:
    layers = {"conv": "conv_stem", "conv_bn": "bn1"}
    layers |= {"conv_1": f"blocks.{stages}.0.conv", "conv_1_bn": f"blocks.{stages}.0.bn1"}
    for block in blocks:
        layers |= dict(zip(_named_v3(block), _named_timm(block), strict=True))
        if block.squeezes:
            layers |= _squeezed(block, f"blocks.{block.stage}.{block.place}.se", "conv_reduce", "conv_expand")
    return layers


def _torchvision_v3(blocks: list[_Block]) -> dict[str, str]:
    end = len(blocks) + 1
    layers = {"conv": "features.0.0", "conv_bn": "features.0.1"}
    layers |= {"conv_1": f"features.{end}.0", "conv_1_bn": f"features.{end}.1"}
    for block in blocks:
        theirs = f"features.{block.index + 1}.block"
        depthwise = 1 if block.expands else 0
        project = depthwise + 1 + int(block.squeezes)
        places = ([0] if block.expands else []) + [depthwise, project]
        pairs = tuple(f"{theirs}.{place}.{kind}" for place in places for kind in (0, 1))
        layers |= dict(zip(_named_v3(block), pairs, strict=True))
        if block.squeezes:
            layers |= _squeezed(block, f"{theirs}.{depthwise + 1}", "fc1", "fc2")
    return layers


def _squeezed(block: _Block, theirs: str, reduce: str, expand: str) -> dict[str, str]:
    ours = f"expanded_conv_{block.index}" if block.index else "expanded_conv"
    return {
        f"{ours}_squeeze_excite_conv": f"{theirs}.{reduce}",
        f"{ours}_squeeze_excite_conv_1": f"{theirs}.{expand}",
    }
