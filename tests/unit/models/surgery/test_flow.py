"""How channels pass layers: what is not understood is left alone, by name."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from featherlite.errors import RequestError
from featherlite.models.surgery.channels import channels_of, reindex


def answers(network: Any) -> Any:
    photos = np.random.default_rng(0).uniform(-1, 1, (2, *network.input_shape[1:])).astype(np.float32)
    return np.asarray(network(photos, training=False))


def graph(behind: Any, channels: int = 4) -> Any:
    """photo -> stem -> what is asked -> pooled logits."""
    photo = keras.Input((4, 4, 3), name="photo")
    x = behind(layers.Conv2D(channels, 1, name="stem")(photo))
    return keras.Model(photo, layers.Dense(2, name="logits")(layers.Flatten()(x)), name="asked")


def vector(x: Any) -> Any:
    return x * np.ones(4, np.float32)


def tied_otherwise(x: Any) -> Any:
    one, two = (layers.Conv2D(2, 1, name=name)(x) for name in ("one", "two"))
    return layers.Add(name="sum")([x, layers.Concatenate()([one, two])])


def spread(x: Any) -> Any:
    return layers.Multiply(name="gate")([x, layers.Conv2D(1, 1, name="one")(x)])


@pytest.mark.parametrize(
    ("behind", "protected"),
    [
        (layers.Permute((3, 1, 2), name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.GroupNormalization(2, name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.Softmax(name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.Activation("softmax", name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.Conv2D(4, 1, activation="softmax", name="odd"), {"odd": "odd"}),
        (layers.Conv2D(4, 1, groups=2, name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.DepthwiseConv2D(1, depth_multiplier=2, name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.BatchNormalization(axis=1, name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.Reshape((8, 8), name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.Concatenate(axis=1, name="odd"), {}),
        (layers.Rescaling([1.0, 2.0, 3.0, 4.0], name="odd"), {"stem": "odd", "odd": "odd"}),
        (layers.Rescaling(2.0, name="odd"), {}),
        (tied_otherwise, {"stem": "sum", "one": "sum", "two": "sum"}),
        (spread, {"one": "gate"}),
        (vector, {"stem": "multiply", "multiply": "multiply"}),
    ],
)
def test_what_is_not_understood_is_left_alone(behind: Any, protected: dict[str, str]) -> None:
    if isinstance(behind, layers.Concatenate):
        joined = behind
        behind = lambda x: joined([x, layers.Conv2D(4, 1, name="other")(x)])  # noqa: E731
        protected = {"stem": "odd", "other": "odd", "odd": "odd"}
    network = graph(behind)
    found = {name: why for name, why in channels_of(network).protected().items() if name not in ("photo", "logits")}
    renamed = {name.rstrip("_0123456789"): why for name, why in found.items()}
    assert renamed.keys() == protected.keys()
    for name, part in protected.items():
        assert f"'{part}" in renamed[name]
    free = channels_of(network).free()
    turned = {name: np.arange(group.width)[::-1] for name, group in free.items()}
    np.testing.assert_allclose(answers(reindex(network, turned)), answers(network), atol=1e-5)


def test_a_layer_used_twice_is_refused_by_name() -> None:
    shared = layers.Conv2D(4, 1, name="shared")
    with pytest.raises(RequestError, match="'asked' uses the layer 'shared' more than once"):
        channels_of(graph(lambda x: shared(shared(x))))
