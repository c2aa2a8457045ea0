"""The augmentation as Keras layers in somebody's own pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from featherlite.errors import RequestError

EVERYTHING: dict[str, Any] = {
    "flip": True,
    "rotate_deg": 30.0,
    "zoom": 0.2,
    "stretch": 0.1,
    "shift": 0.1,
    "perspective": 0.2,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.05,
    "erase": 0.5,
    "randaugment": 2,
    "weather": 0.5,
}


def photos(count: int = 6, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_a_seed_repeats_and_calls_differ() -> None:
    from featherlite.training.layers import RandomAugment

    one, same, other = (RandomAugment(seed=seed, **EVERYTHING) for seed in (1, 1, 2))
    first, again, different = (np.asarray(layer(photos(), training=True)) for layer in (one, same, other))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, different)
    assert not np.allclose(first, np.asarray(one(photos(), training=True)))
    assert first.shape == photos().shape
    assert first.dtype == np.float32
    assert first.min() >= -0.01
    assert first.max() <= 255.01


@pytest.mark.parametrize("off", [{"training": False}, {}])
def test_outside_training_nothing_changes(off: dict[str, Any]) -> None:
    from featherlite.training.layers import RandomAugment, RandomBlend, RandomWeather

    for layer in (RandomAugment(**EVERYTHING), RandomWeather(share=1.0)):
        np.testing.assert_array_equal(layer(photos(), **off), photos().astype(np.float32))
    inputs = {"images": photos(), "labels": np.eye(6, dtype=np.float32)}
    np.testing.assert_array_equal(RandomBlend(mixup=1.0)(inputs, **off)["labels"], np.eye(6))


def test_with_nothing_asked_for_nothing_changes() -> None:
    from featherlite.training.layers import RandomAugment

    np.testing.assert_allclose(RandomAugment()(photos(), training=True), photos(), atol=0.01)


def test_a_layer_draws_what_training_draws() -> None:
    """Only mirrored: half of the photos are, exactly, in whatever range of values the pipeline has."""
    from featherlite.training.layers import RandomAugment

    given = photos(200)
    for low, high in ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)):
        scaled = given.astype(np.float32) / 255 * (high - low) + low
        seen = np.asarray(RandomAugment(seed=4, value_range=(low, high), flip=True)(scaled, training=True))
        mirrored = np.abs(seen - scaled[:, :, ::-1]).max(axis=(1, 2, 3)) < 1e-3 * (high - low)
        kept = np.abs(seen - scaled).max(axis=(1, 2, 3)) < 1e-3 * (high - low)
        assert (mirrored | kept).all()
        assert 70 < mirrored.sum() < 130


def test_weather_meets_its_share_with_its_kinds() -> None:
    from featherlite.training.layers import RandomWeather

    layer = RandomWeather(share=0.5, kinds=("defocus",), seed=1)
    given = np.repeat(photos(1), 64, axis=0)
    seen = np.asarray(layer(given, training=True))
    changed = np.abs(seen - given).max(axis=(1, 2, 3)) > 0.5
    assert 16 < changed.sum() < 48
    assert seen[changed].std() < given.std()  # blurred


def test_blend_mixes_labels_as_it_mixes_photos() -> None:
    from featherlite.training.layers import RandomBlend

    values = np.arange(8, dtype=np.float32)[:, None, None, None] * 10 * np.ones((8, 20, 20, 3), np.float32)
    for options in ({"mixup": 1.0}, {"mixup": 0.0, "cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}):
        layer = RandomBlend(seed=2, **options)
        mixed = layer({"images": values, "labels": np.eye(8, dtype=np.float32)}, training=True)
        means = np.asarray(mixed["images"]).mean(axis=(1, 2, 3))
        expected = np.asarray(mixed["labels"]) @ (np.arange(8) * 10)
        np.testing.assert_allclose(means, expected, atol=0.01)
        assert not np.allclose(means, np.arange(8) * 10)


def test_they_train_inside_a_model_and_are_stored_with_it(tmp_path: Any) -> None:
    import keras

    from featherlite.training.layers import RandomAugment, RandomWeather

    inputs = keras.Input((24, 32, 3))
    x = RandomAugment(seed=1, **(EVERYTHING | {"weather": 0.0}))(inputs)
    x = RandomWeather(share=0.3, kinds=("defocus", "low_light"), seed=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(x))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile("sgd", "mse")
    history = model.fit(photos(8), np.zeros((8, 2)), batch_size=4, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][0])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(photos(), training=False), model(photos(), training=False), rtol=1e-5)
    stored = next(layer for layer in loaded.layers if isinstance(layer, RandomWeather))
    assert stored.config.weather_kinds == ("defocus", "low_light")
    assert stored.config.weather == 0.3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rotate_deg": 200.0}, "rotate_deg"),
        ({"mixup": 0.2}, "RandomBlend"),
        ({"weather_kinds": ("frost",)}, "weather_kinds"),
        ({"value_range": (1.0, 0.0)}, "value_range"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    from featherlite.training.layers import RandomAugment

    with pytest.raises(RequestError, match=told):
        RandomAugment(**options)
