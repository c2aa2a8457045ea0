"""ImageNet weights as keras.applications fetches them: what is built from them answers as the original does.

No download here: Keras asks for its file as ever and is handed one of weights drawn by seed, in the format of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.models.backbones import Order, card_of
from featherlite.models.weights import build_backbone

keras = pytest.importorskip("keras")

MEANS, DEVIATIONS = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([123.68, 116.779, 103.939])
OURS = np.full(3, 128.0)
"""The pixel that is zero to our networks, and so what they pad a photo with."""


@dataclass(frozen=True)
class Published:
    """A network of keras.applications: how its authors feed it, which pixel is zero to it, and the file it asks for."""

    constructor: str
    levels: Callable[[Any], Any]
    zero: Any
    stem: str
    margin: tuple[int, int]
    file: str
    px: int
    has_levels_inside: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, weights: str | None) -> Any:
        alpha = {"alpha": width} if (width := self.options.get("width")) else {}
        constructor = getattr(keras.applications, self.constructor)
        return constructor(input_shape=(self.px, self.px, 3), include_top=False, weights=weights, **alpha)


MOBILENET = Published(
    "MobileNetV2",
    levels=lambda photos: photos / 127.5 - 1,
    zero=np.full(3, 127.5),
    stem="Conv1",
    margin=(0, 1),
    file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5",
    px=96,
    options={"width": 0.35},
)
EFFICIENTNET = Published(
    "EfficientNetB0",
    levels=lambda photos: (photos / 255 - MEANS) / DEVIATIONS,
    zero=255 * MEANS,
    stem="stem_conv",
    margin=(0, 1),
    file="efficientnetb0_notop.h5",
    px=48,
    has_levels_inside=True,
)
RESNET = Published(
    "ResNet50",
    levels=lambda photos: (photos - CAFFE)[..., ::-1],
    zero=CAFFE,
    stem="conv1_conv",
    margin=(3, 3),
    file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    px=48,
)


def drawn(model: Any) -> Any:
    """The model with weights that carry a photo to the last layer, and statistics of its own in every BatchNorm.

    EfficientNet's Normalization gets what Google's file holds: ImageNet's means, and deviations as variances.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            low, high = (0.5, -0.3, -0.3, 0.5), (1.5, 0.3, 0.3, 1.5)
            layer.set_weights([rng.uniform(*span, shapes[0]) for span in zip(low, high, strict=True)])
        elif isinstance(layer, keras.layers.Normalization):
            layer.set_weights([MEANS, DEVIATIONS, np.array(0)])
        elif shapes:
            height, width, into, _ = shapes[0]
            inputs = height * width * (1 if isinstance(layer, keras.layers.DepthwiseConv2D) else into)
            layer.set_weights([rng.normal(0, (2 / inputs) ** 0.5, shape) for shape in shapes])
    return model


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any], list[str]]:
    """Hands the weights of a model to whoever asks Keras for a file; what was asked for is told."""
    from keras.src.utils import file_utils

    def serve(model: Any) -> list[str]:
        asked: list[str] = []
        model.save(tmp_path / "weights.h5")

        def get_file(name: str, origin: str, **_: Any) -> str:
            asked.append(origin)
            return str(tmp_path / "weights.h5")

        monkeypatch.setattr(file_utils, "get_file", get_file)
        return asked

    return serve


def photos_of(px: int) -> Any:
    """Two photos of colored tiles, levels 0..255 as float32: noise pixel by pixel would be the same gray to both."""
    tiles = np.random.default_rng(1).integers(0, 256, (2, 6, 6, 3))
    return np.kron(tiles, np.ones((1, px // 6, px // 6, 1))).astype(np.float32)


def answers(published: Published, original: Any, photos: Any, gray: Any) -> Any:
    """Features that the original makes of photos, float32 [n, h, w, channels], had it padded them with that gray.

    Zero is another gray to each network, so at the edges, and deep in the network everywhere, answers would differ.
    What stands behind the first convolution is the original as it is.
    """
    stem, margin = original.get_layer(published.stem), published.margin
    kernel, *bias = stem.get_weights()
    edged = np.pad(photos - gray, ((0, 0), margin, margin, (0, 0))) + gray
    first = keras.ops.conv(published.levels(edged).astype(np.float32), kernel, stem.strides, "valid")
    behind = keras.Model(stem.output, original.output)
    return np.asarray(behind(first + (bias[0] if bias else 0), training=False))


def assert_same(found: Any, expected: Any) -> None:
    """Far closer to each other than one photo's features are to the other's."""
    apart = float(np.abs(expected[0] - expected[1]).mean())
    assert apart > 0.05 * expected.std(), "the photos count"
    np.testing.assert_allclose(found, expected, atol=1e-2 * apart)


@pytest.mark.parametrize(
    "published",
    [
        pytest.param(MOBILENET, id="MobileNetV2"),
        pytest.param(EFFICIENTNET, id="EfficientNetB0", marks=pytest.mark.slow),  # layers inside, one more if trained
        pytest.param(RESNET, id="ResNet50", marks=pytest.mark.slow),  # blue, green, red, less Caffe's means
    ],
)
def test_a_network_of_imagenet_weights_answers_as_the_original(
    published: Published, served: Callable[[Any], list[str]]
) -> None:
    source = drawn(published.build(None))
    asked = served(source)
    order = Order(card_of(published.constructor), published.px, published.px, **published.options)
    ours = build_backbone(order, weights="imagenet")
    assert [origin.rpartition("/")[2] for origin in asked] == [published.file]

    photos = photos_of(published.px)
    original = published.build("imagenet") if published.has_levels_inside else source
    plain = np.asarray(original(photos if published.has_levels_inside else published.levels(photos), training=False))
    assert_same(answers(published, original, photos, published.zero), plain)  # which is the original, then
    found = np.asarray(ours((photos - 128) / 128, training=False))
    assert_same(found, answers(published, original, photos, OURS))
