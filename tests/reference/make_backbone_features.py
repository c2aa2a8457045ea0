"""Writes backbone_features.json: what torchvision's and timm's networks answer to weights and a photo drawn by rule.

Run by hand, where torch, torchvision and timm are installed: `python tests/reference/make_backbone_features.py`.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from backbone_rule import drawn, photo, places

MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = ((96, 96), (75, 100))
ALEXNET_SIZES = ((224, 224), (96, 96), (100, 160))


def network(name: str) -> tuple[Any, Any]:
    """The reference network and the function that gives its feature map [n, channels, h, w]."""
    if name.startswith("MobileNetV4"):
        from timm.models.mobilenetv3 import mobilenetv4_conv_small

        model = mobilenetv4_conv_small()
        return model, model.forward_features
    if name.startswith("ResNet"):
        from torchvision.models import resnet

        model = getattr(resnet, name.lower())()
        layers = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        return model, lambda x: chained(x, [getattr(model, layer) for layer in layers])
    if name.startswith("SqueezeNet"):
        from torchvision.models import squeezenet

        model = getattr(squeezenet, name.lower())()
        return model, model.features
    from torchvision.models import alexnet

    model = alexnet.alexnet()
    stages = (model.features, model.avgpool, lambda x: x.flatten(1), *model.classifier[:6])
    return model, lambda x: chained(x, stages)[:, :, None, None]


def chained(x: Any, stages: Any) -> Any:
    """What the last stage gives."""
    for stage in stages:
        x = stage(x)
    return x


def entry(name: str) -> dict[str, Any]:
    """One network's parameters with its classifier of 1,000 classes, and its features at each size."""
    import torch

    model, features = network(name)
    model.eval()
    state = model.state_dict()
    for key, value in state.items():
        if value.ndim:
            value.copy_(torch.from_numpy(drawn(key, tuple(value.shape))))
    cases = []
    for height, width in ALEXNET_SIZES if name == "AlexNet" else SIZES:
        x = ((photo(height, width) / 255 - MEANS) / DEVIATIONS).astype(np.float32)
        with torch.no_grad():
            found = features(torch.from_numpy(x.transpose(2, 0, 1))[None])[0].permute(1, 2, 0).numpy()
        values = found.ravel()[places(found.size)]
        figures = {"mean": float(found.mean()), "deviation": float(found.std())}
        cases.append(
            {
                "px": [height, width],
                "shape": list(found.shape),
                **figures,
                "values": [round(float(v), 5) for v in values],
            }
        )
    return {"parameters": sum(value.numel() for value in model.parameters()), "cases": cases}


def main() -> None:
    """Writes the file beside this one."""
    names = ("ResNet18", "ResNet34", "ResNet50", "SqueezeNet1_0", "SqueezeNet1_1", "AlexNet", "MobileNetV4ConvSmall")
    document = {
        "made_with": {package: version(package) for package in ("torch", "torchvision", "timm", "numpy")},
        "how": "tests/reference/make_backbone_features.py: weights and photo of backbone_rule.py, (x/255 - mean) / std"
        " of ImageNet, float32, feature map as height, width, channels; `values` are those at backbone_rule.places",
        "networks": {name: entry(name) for name in names},
    }
    Path(__file__).with_name("backbone_features.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
