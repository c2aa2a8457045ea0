"""Backbones against published figures and against the original networks with real weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featherlite.models.backbones import Order, card_of
from featherlite.preprocess import Preprocess, network_input

keras = pytest.importorskip("keras")

WEIGHTS = [
    ("mobilenet_v1_0.25_128_imagenet", "MobileNet", "MobileNetV1", 0.25, 1000, "conv_pw_13_relu"),
    ("mobilenet_v1_0.50_160_imagenet", "MobileNet", "MobileNetV1", 0.5, 1000, "conv_pw_13_relu"),
    ("mobilenet_v2_1.0_224_imagenet", "MobileNetV2", "MobileNetV2", 1.0, 1000, "out_relu"),
    ("mobilenet_v2_1.0_224_inat_birds", "MobileNetV2", "MobileNetV2", 1.0, 965, "out_relu"),
]


@pytest.mark.parametrize(
    ("name", "top", "published"),
    [
        ("MobileNetV1", 1024 * 1000, 569e6),  # Howard et al. 2017, table 8
        ("MobileNetV2", 1280 * 1000, 300e6),  # Sandler et al. 2018, table 4
        ("EfficientNetB0", 1280 * 1000, 390e6),  # Tan and Le 2019, table 2
        ("ResNet50", 2048 * 1000, 3.8e9),  # He et al. 2015, table 1
        ("MobileNetV3Small", 576 * 1024 + 1024 * 1000, 56e6),  # Howard et al. 2019, table 4
        ("MobileNetV3Large", 960 * 1280 + 1280 * 1000, 219e6),  # Howard et al. 2019, table 3
        ("ConvNeXtTiny", 768 * 1000, 4.5e9),  # Liu et al. 2022, table 1
    ],
)
def test_macs_are_those_of_the_paper(name: str, top: int, published: float) -> None:
    assert card_of(name).macs + top == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(("file", "constructor", "name", "width", "classes", "layer"), WEIGHTS)
def test_real_weights_give_the_original_features(
    real_data: Path, file: str, constructor: str, name: str, width: float, classes: int, layer: str
) -> None:
    """The original with its own x / 127.5 - 1 against ours with (pixel - 128) / 128, on a photo, at 96 px."""
    from featherlite.models.weights import build_backbone

    path = real_data / "weights" / f"{file}.weights.h5"
    original: Any = getattr(keras.applications, constructor)((96, 96, 3), alpha=width, weights=None, classes=classes)
    original.load_weights(path)
    original = keras.Model(original.inputs, original.get_layer(layer).output)
    ours = build_backbone(Order(card_of(name), 96, 96, width), weights=str(path))

    photos = np.stack([Preprocess()(Image.open(real_data / "samples" / photo)) for photo in ("owl.jpg", "parrot.jpg")])
    expected = original.predict(photos.astype(np.float32) / 127.5 - 1, verbose=0)
    features = ours.predict(network_input(photos), verbose=0)
    assert features.shape == expected.shape
    # The two grays differ by 0.5 of 255 over the padded edge alone, and that edge reaches the last map only faintly.
    assert np.abs(features - expected).mean() < 0.01 * np.abs(expected).mean()
    cosine = np.sum(features * expected) / np.sqrt(np.sum(features**2) * np.sum(expected**2))
    assert cosine > 0.9999


def test_the_first_map_is_exact_inside(real_data: Path) -> None:
    from featherlite.models.weights import build_backbone

    path = real_data / "weights" / "mobilenet_v2_1.0_224_imagenet.weights.h5"
    original = keras.applications.MobileNetV2((96, 96, 3), weights=None)
    original.load_weights(path)
    ours = build_backbone(Order(card_of("MobileNetV2"), 96, 96), weights=str(path), after="Conv1_relu")
    photo = Preprocess()(Image.open(real_data / "samples" / "owl.jpg"))[None]
    expected = keras.Model(original.inputs, original.get_layer("Conv1_relu").output).predict(
        photo.astype(np.float32) / 127.5 - 1, verbose=0
    )
    features = ours.predict(network_input(photo), verbose=0)
    np.testing.assert_allclose(features[:, :-1, :-1], expected[:, :-1, :-1], atol=2e-5)


def test_weights_of_another_width_are_refused(real_data: Path) -> None:
    from featherlite.errors import RequestError
    from featherlite.models.weights import build_backbone

    path = real_data / "weights" / "mobilenet_v1_0.25_128_imagenet.weights.h5"
    with pytest.raises(RequestError, match=r"layer 'conv1' wants 3x3x3x16, the file has 3x3x3x8"):
        build_backbone(Order(card_of("MobileNetV1"), 96, 96, 0.5), weights=str(path))
