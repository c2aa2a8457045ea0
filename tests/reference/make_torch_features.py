"""Writes torch_features.json: what timm's and torchvision's networks answer to weights and a photo drawn by rule.

Run by hand, where torch, torchvision and timm are installed: `python tests/reference/make_torch_features.py`.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from backbone_rule import drawn, photo, places

PX = (72, 88)
"""Maps of these sides are halved from even and from odd sizes, in which paddings differ."""
BLOCKS, WIDTHS = (3, 3, 9, 3), (96, 192, 384, 768)

CASES = {
    "resnet18": ("ResNet18", "timm", "resnet18", {}),
    "resnet18_tv": ("ResNet18", "torchvision", "resnet18", {}),
    "convnext": ("ConvNeXtTiny", "timm", "convnext_tiny", {}),
    "convnext_tv": ("ConvNeXtTiny", "torchvision", "convnext_tiny", {}),
    "convnext_authors": ("ConvNeXtTiny", "authors", "convnext_tiny", {}),
    "efficientnet_b0": ("EfficientNetB0", "timm", "efficientnet_b0", {}),
    "efficientnet_b0_tf": ("EfficientNetB0", "timm", "tf_efficientnet_b0", {}),
    "efficientnet_b0_tv": ("EfficientNetB0", "torchvision", "efficientnet_b0", {}),
    "efficientnet_b3": ("EfficientNetB3", "timm", "efficientnet_b3", {}),
    "efficientnetv2_b0_tf": ("EfficientNetV2B0", "timm", "tf_efficientnetv2_b0", {}),
    "mobilenetv2": ("MobileNetV2", "timm", "mobilenetv2_100", {}),
    "mobilenetv2_tv": ("MobileNetV2", "torchvision", "mobilenet_v2", {}),
    "mobilenetv2_half_tv": ("MobileNetV2", "torchvision", "mobilenet_v2", {"width_mult": 0.5}),
    "mobilenetv3_small": ("MobileNetV3Small", "timm", "mobilenetv3_small_100", {}),
    "mobilenetv3_small_tf": ("MobileNetV3Small", "timm", "tf_mobilenetv3_small_100", {}),
    "mobilenetv3_small_tv": ("MobileNetV3Small", "torchvision", "mobilenet_v3_small", {}),
    "mobilenetv3_large": ("MobileNetV3Large", "timm", "mobilenetv3_large_100", {}),
    "mobilenetv3_large_tv": ("MobileNetV3Large", "torchvision", "mobilenet_v3_large", {}),
}


def network(library: str, name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """The reference network, with a head of 10 classes, and the function that gives its feature map."""
    if library == "torchvision":
        import torchvision.models

        model = getattr(torchvision.models, name)(num_classes=10, **options)
        if name == "resnet18":
            stages = list(model.children())[:-2]
            return model, lambda x: chained(x, stages)
        if name == "convnext_tiny":  # the last norm at every place, as keras.applications has it
            return model, lambda x: model.classifier[0](model.features(x))
        return model, model.features
    import timm

    model = timm.create_model(name, num_classes=10)
    if name == "convnext_tiny":
        return model, lambda x: model.head.norm(model.forward_features(x))
    return model, model.forward_features


def chained(x: Any, stages: Any) -> Any:
    """What the last stage gives."""
    for stage in stages:
        x = stage(x)
    return x


def authors_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the ConvNeXt-Tiny of github.com/facebookresearch/ConvNeXt, with 10 classes."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(module: str, *weight: int) -> None:
        shapes[f"{module}.weight"], shapes[f"{module}.bias"] = weight, weight[:1]

    add("downsample_layers.0.0", 96, 3, 4, 4)
    add("downsample_layers.0.1", 96)
    for stage, (blocks, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True)):
        if stage:
            add(f"downsample_layers.{stage}.0", width // 2)
            add(f"downsample_layers.{stage}.1", width, width // 2, 2, 2)
        for block in range(blocks):
            name = f"stages.{stage}.{block}"
            shapes[f"{name}.gamma"] = (width,)
            add(f"{name}.dwconv", width, 1, 7, 7)
            add(f"{name}.norm", width)
            add(f"{name}.pwconv1", 4 * width, width)
            add(f"{name}.pwconv2", width, 4 * width)
    add("norm", 768)
    add("head", 10, 768)
    return shapes


def entry(backbone: str, library: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """One network's tensors, and its features of the photo (x - 128) / 128."""
    import torch

    model, features = network(library, name, options)
    model.eval()
    if library == "authors":
        from timm.models.convnext import checkpoint_filter_fn

        shapes = authors_shapes()
        given = {key: torch.from_numpy(drawn(key, shape)) for key, shape in shapes.items()}
        model.load_state_dict(checkpoint_filter_fn(given, model), strict=True)
    else:
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        for key, value in model.state_dict().items():
            if value.ndim:
                value.copy_(torch.from_numpy(drawn(key, shapes[key])))
    x = ((photo(*PX).astype(np.float32) - 128) / 128).transpose(2, 0, 1)[None]
    with torch.no_grad():
        found = features(torch.from_numpy(x))[0].permute(1, 2, 0).numpy()
    return {
        "backbone": backbone,
        "library": library,
        "network": name,
        "width": options.get("width_mult", 1.0),
        "shape": list(found.shape),
        "mean": float(found.mean()),
        "deviation": float(found.std()),
        "values": [round(float(value), 5) for value in found.ravel()[places(found.size)]],
        "tensors": " ".join(f"{key}:{'x'.join(map(str, shape))}" for key, shape in shapes.items() if shape),
    }


def main() -> None:
    """Writes the file beside this one."""
    document = {
        "made_with": {package: version(package) for package in ("torch", "torchvision", "timm", "numpy")},
        "how": "make_torch_features.py wrote this: weights and photo of backbone_rule.py, (x - 128) / 128, float32,"
        " feature map as height, width, channels; `values` are those at backbone_rule.places",
        "px": PX,
        "cases": {case: entry(*facts) for case, facts in CASES.items()},
    }
    text = json.dumps(document, indent=1)
    short = re.sub(r"\[[^\[\]]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)  # lists of numbers on one line
    Path(__file__).with_name("torch_features.json").write_text(short + "\n")


if __name__ == "__main__":
    main()
