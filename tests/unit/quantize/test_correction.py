from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from featherlite.models.logits import network_logits
from featherlite.preprocess import network_input
from featherlite.quantize import correction
from featherlite.quantize.correction import correct, rounded

PHOTOS = np.random.default_rng(0).integers(0, 256, (48, 32, 32, 3), dtype=np.uint8)


def test_rounding_by_hand() -> None:
    """Channel 0 has the step 1.27 / 127 = 0.01, channel 1 the step 0.5 / 127; a channel of zeros stays."""
    kernel = np.zeros((1, 1, 2, 3), dtype=np.float32)
    kernel[0, 0, :, 0] = 1.27, 0.0149
    kernel[0, 0, :, 1] = -0.5, 0.0
    expected = np.zeros_like(kernel)
    expected[0, 0, :, 0] = 1.27, 0.01
    expected[0, 0, :, 1] = -0.5, 0.0
    np.testing.assert_allclose(rounded(kernel, (0, 1, 2)), expected, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 3, 2, 4), elements=st.floats(-10, 10, width=32)))
def test_rounding_moves_no_weight_by_more_than_half_a_step_and_once_is_enough(kernel: NDArray[np.float32]) -> None:
    once = rounded(kernel, (0, 1, 2))
    step = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    assert np.all(np.abs(once - kernel) <= step * 0.5 + 1e-5)
    np.testing.assert_allclose(rounded(once, (0, 1, 2)), once, atol=1e-5)


@pytest.fixture
def network() -> Any:
    """A small separable network whose BatchNorm knows its inputs, as after training."""
    import keras

    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((32, 32, 3))
    for width in (6, 8, 12):
        x = keras.layers.Conv2D(width, 1, use_bias=False)(x)
        x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.5)(x))
        x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(momentum=0.5)(x))
    x = keras.layers.Conv2D(16, 1, use_bias=True, name="biased")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, keras.layers.Dense(5, name="head_logits")(x))
    for _ in range(8):
        made((PHOTOS.astype(np.float32) - 128) / 128, training=True)
    return made


def noise_of(network: Any, wanted: NDArray[np.float32], photos: NDArray[np.uint8]) -> float:
    return float(np.square(network_logits(network, photos) - wanted).mean())


def test_the_correction_takes_most_of_the_rounding_back(network: Any) -> None:
    """On photos that it was not measured on, the logits are closer than plain rounding leaves them."""
    import keras

    unseen = np.random.default_rng(9).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    wanted = network_logits(network, unseen)
    plain = keras.models.clone_model(network)
    plain.set_weights(network.get_weights())
    for layer in plain.layers:
        if hasattr(layer, "kernel") and layer.name != "head_logits":
            axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (0, 1, 2)
            layer.kernel.assign(rounded(np.asarray(layer.kernel), axes))
    calls: list[None] = []
    assert correct(network, PHOTOS, lambda: calls.append(None)) == 7
    assert len(calls) == 7
    assert noise_of(network, wanted, unseen) < 0.8 * noise_of(plain, wanted, unseen)


def test_each_layer_is_corrected_for_what_all_before_it_leave(network: Any) -> None:
    """Against the definition: after each layer in turn, the whole network is asked for that layer's new mean."""
    import keras

    reference = keras.models.clone_model(network)
    reference.set_weights(network.get_weights())
    inputs = (PHOTOS.astype(np.float32) - 128) / 128
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    convolutions = [layer for layer in reference.layers if isinstance(layer, kinds)]
    taps = keras.Model(reference.inputs[0], [layer.output for layer in convolutions])

    def moments(place: int) -> tuple[Any, Any]:
        made = np.asarray(taps(inputs, training=False)[place], dtype=np.float64)
        return made.mean(axis=(0, 1, 2)), made.var(axis=(0, 1, 2))

    wanted = [moments(place) for place in range(len(convolutions))]
    behind = [layer._outbound_nodes[0].operation for layer in convolutions]
    for place, (layer, norm) in enumerate(zip(convolutions, behind, strict=True)):
        axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (0, 1, 2)
        layer.kernel.assign(rounded(np.asarray(layer.kernel), axes))
        mean, variance = moments(place)
        if isinstance(norm, keras.layers.BatchNormalization):
            norm.moving_mean.assign(np.asarray(norm.moving_mean) + mean - wanted[place][0])
            ratio = np.clip(variance / wanted[place][1], 0.8, 1.25)
            norm.moving_variance.assign(np.asarray(norm.moving_variance) * ratio)
        else:
            layer.bias.assign(np.asarray(layer.bias) - (mean - wanted[place][0]))
    correct(network, PHOTOS)
    for found, weight in zip(network.weights, reference.weights, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(weight), rtol=1e-3, atol=1e-5)


def test_kernels_end_on_the_grid_and_the_head_stays(network: Any) -> None:
    import keras

    head = np.asarray(network.get_layer("head_logits").kernel).copy()
    correct(network, PHOTOS)
    np.testing.assert_array_equal(np.asarray(network.get_layer("head_logits").kernel), head)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.asarray(layer.kernel)
            steps = kernel / (np.abs(kernel).max(axis=(0, 1, 2), keepdims=True) / 127)
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


@pytest.mark.parametrize("activation", ["silu", "sigmoid", "relu6"])
def test_a_bias_makes_up_for_the_shift_before_its_own_activation(activation: str) -> None:
    """Behind a bend the shift is another one, which a bias before it would not take back."""
    import keras

    keras.utils.set_random_seed(2)
    inputs = keras.Input((32, 32, 3))
    conv = keras.layers.Conv2D(4, 3, activation=activation, bias_initializer="uniform", name="bent")
    x = keras.layers.Conv2D(6, 1, activation=activation, name="behind")(conv(inputs))
    made = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    kernel, bias = conv.get_weights()
    kernel[0, 0, 0] *= 40  # what is small beside it loses its digits
    conv.set_weights([kernel, bias])

    def mean() -> Any:
        return np.asarray(keras.ops.conv(network_input(PHOTOS), conv.kernel) + conv.bias).mean(axis=(0, 1, 2))

    before, logits = mean(), network_logits(made, PHOTOS)
    assert correct(made, PHOTOS) == 2
    assert conv.activation is keras.activations.get(activation)
    assert np.abs(np.asarray(conv.kernel) - kernel).max() > 1e-3
    np.testing.assert_allclose(mean(), before, atol=2e-4)
    np.testing.assert_allclose(network_logits(made, PHOTOS), logits, atol=0.05)


def test_photos_of_all_classes_are_looked_at(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 photos in the order of their classes, more than are looked at: the last class counts as the first does."""
    seen = list[Any]()
    monkeypatch.setattr(correction, "network_input", lambda photos: seen.append(photos) or network_input(photos))
    classes = np.repeat(np.arange(5, dtype=np.uint8), 60)
    correct(network, np.broadcast_to(classes[:, None, None, None], (300, 32, 32, 3)))
    counts = np.bincount(seen[0][:, 0, 0, 0])
    assert len(counts) == 5
    assert counts.min() >= 25


def test_small_kernels_stay_where_the_artefact_keeps_them_in_float(network: Any) -> None:
    before = {layer.name: np.asarray(layer.kernel).copy() for layer in network.layers if hasattr(layer, "kernel")}
    least = int(np.median([kernel.size for kernel in before.values()]))
    correct(network, PHOTOS, least=least)
    for name, kernel in before.items():
        touched = not np.array_equal(kernel, np.asarray(network.get_layer(name).kernel))
        assert touched == (kernel.size >= least and name != "head_logits")
