"""What of a network counts as its pooled features, whatever its head."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import tiny_network


def test_the_pool_before_dropout() -> None:
    from featherlite.training.teachers.pooled import pooled_features

    network = tiny_network()
    assert pooled_features(network) is network.get_layer("head_pool").output


def test_a_map_is_averaged() -> None:
    """A network whose last weights are a convolution over the classes, as SqueezeNet's."""
    import keras
    import numpy as np

    from featherlite.training.teachers.pooled import pooled_features

    inputs = keras.Input((16, 16, 3))
    features = keras.layers.Conv2D(5, 3, name="conv")(inputs)
    x = keras.layers.Conv2D(4, 1, name="conv10")(keras.layers.Dropout(0.5)(features))
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    pooled = keras.Model(inputs, pooled_features(network))
    photos = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    expected = np.asarray(keras.Model(inputs, features)(photos)).mean(axis=(1, 2))
    np.testing.assert_allclose(np.asarray(pooled(photos)), expected, rtol=1e-5, atol=1e-6)


def test_of_a_layer_in_two_graphs_it_is_what_this_graph_makes_of_it() -> None:
    """As while branches fade: the gated network and the one without them share their layers."""
    import keras

    from featherlite.training.teachers.pooled import pooled_features

    first = tiny_network()
    photo = keras.Input(first.input_shape[1:], name="photo")
    again = keras.models.clone_model(first, input_tensors=photo, clone_function=lambda layer: layer)
    pooled = pooled_features(again)
    assert pooled is not first.get_layer("head_pool").output
    assert keras.Model(again.inputs[0], pooled).output_shape == (None, first.get_layer("head_pool").output.shape[-1])


@pytest.mark.parametrize(
    "settings",
    [{"head": "plain"}, {"head": "dense"}, {"head": "cosine"}, {"pool": "gem"}, {"attention": "spatial"}],
    ids=str,
)
def test_of_every_head_the_pool_is_found(settings: dict[str, Any], color_bundle: Any, make_context: Any) -> None:
    from featherlite.models.build import BuildConfig, build
    from featherlite.models.network import load_network
    from featherlite.training.teachers.pooled import pooled_features

    built = build(color_bundle, BuildConfig.model_validate({"input_px": 32, "width": 0.5} | settings), make_context())
    network = load_network(built)
    pooled = pooled_features(network)
    backbone = [layer for layer in network.layers if not layer.name.startswith("head_")][-1]
    assert tuple(pooled.shape) == (None, backbone.output.shape[-1])
    assert pooled is network.get_layer("head_pool").output  # a cosine head drops out before it has the direction
