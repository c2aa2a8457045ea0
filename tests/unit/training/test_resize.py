"""Smaller photos in the graph, and networks on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from featherlite.errors import RequestError
from featherlite.preprocess import network_input
from featherlite.step import Context
from featherlite.training.batchnorm import Statistics
from featherlite.training.checkpoint import Best
from featherlite.training.fit import FitConfig, fit
from featherlite.training.judging import Judge
from featherlite.training.phases import PhaseRun
from featherlite.training.plan import Phase
from featherlite.training.resize import AtSize, Shrink, check_sizes, resampling, size_at

from .conftest import PX, block_network, colored_photos


def test_the_matrix_by_hand() -> None:
    np.testing.assert_allclose(resampling(4, 2), [[3 / 7, 3 / 7, 1 / 7, 0], [0, 1 / 7, 3 / 7, 3 / 7]], rtol=1e-6)
    np.testing.assert_array_equal(resampling(3, 3), np.eye(3))


@pytest.mark.parametrize(("height", "width"), [(24, 24), (17, 9), (31, 30)])
def test_shrinking_is_pillows_bilinear(height: int, width: int) -> None:
    photos = np.random.default_rng(1).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    ours = np.asarray(Shrink(height, width)(photos))
    assert ours.shape == (2, height, width, 3)
    for photo, mine in zip(photos, ours, strict=True):
        for channel in range(3):
            image = Image.fromarray(photo[..., channel].astype(np.float32))
            theirs = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
            np.testing.assert_allclose(mine[..., channel], theirs, atol=1e-3)


def test_the_longer_side_is_given() -> None:
    assert size_at((100, 200), 100) == (50, 100)
    assert size_at((100, 200), None) == size_at((100, 200), 200) == (100, 200)


def test_a_network_at_another_size_is_itself() -> None:
    network = block_network()
    photos = np.random.default_rng(2).normal(0, 1, (2, 8, 8, 3)).astype(np.float32)
    x = photos
    for layer in network.layers[1:]:
        x = layer(x)
    small = AtSize(network)
    np.testing.assert_allclose(np.asarray(small(photos)), np.asarray(x), rtol=1e-5)
    assert [id(weight) for weight in small.trainable_weights] == [id(weight) for weight in network.trainable_weights]


def test_what_cannot_be_done_is_refused_before_anything_is_trained(context: Callable[..., Context]) -> None:
    inputs = keras.Input((PX, PX, 3))
    flat = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(inputs))
    bound = keras.Model(inputs, keras.layers.Dense(3, name="head_logits")(flat), name="bound")
    with pytest.raises(RequestError, match="'bound' cannot take photos of 12 px") as error:
        fit(bound, colored_photos(6, 1), None, FitConfig(progressive=(12, 16)), context())
    assert "built for" in error.value.hint
    with pytest.raises(RequestError, match="ends at 12 px, the network takes 16"):
        check_sizes(block_network(), (8, 12))
    check_sizes(block_network(), (8, 16))


def test_each_size_is_seen_in_turn_and_the_optimizer_goes_on(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, call = list[tuple[int, ...]](), AtSize.call

    def told(self: AtSize, photos: Any, training: bool | None = None) -> Any:
        seen.append(tuple(photos.shape[1:]))
        return call(self, photos, training=training)

    monkeypatch.setattr(AtSize, "call", told)
    config = FitConfig(head_epochs=1, epochs=4, batch=12, progressive=(8, 16), warmup=0.0, schedule="cosine")
    result = fit(block_network(), colored_photos(12, 1), colored_photos(6, 2, "val"), config, context())
    assert [entry["phase"] for entry in result.curve] == ["head", "8 px", "8 px", "16 px", "16 px"]
    assert set(seen) == {(8, 8, 3)}  # at its own size the network itself is called
    # One cosine over all sizes, which does not begin again: the last step of each epoch of four.
    expected = [3e-3 * (1 + np.cos(np.pi * step / 3)) / 2 for step in range(4)]
    np.testing.assert_allclose([entry["rate"] for entry in result.curve[1:]], expected, atol=1e-9)


def test_training_at_a_smaller_size_trains_the_network(context: Callable[..., Context]) -> None:
    """What is learned at 8 px serves at 16 px: the weights are the same ones."""
    plain: dict[str, Any] = {"head_epochs": 0, "epochs": 12, "batch": 8, "rate": 0.02, "augment": 0.2}
    network, val = block_network(), colored_photos(12, 2, "val")
    result = fit(network, colored_photos(24, 1), val, FitConfig(**plain, progressive=(8, 16)), context())
    assert result.val_top1 is not None
    assert result.val_top1 > 0.8
    assert next(entry for entry in result.curve if entry["phase"] == "8 px")["val_loss"] is not None


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ([0.9, 0.9, 0.5, 0.4], 3),  # what was reached at 8 px says nothing about 16 px
        ([0.1, 0.1, 0.4, 0.5], 4),
        ([0.9, 0.9, 0.2, 0.3], 0),  # at its own size it was better as it came
    ],
)
def test_only_epochs_at_the_networks_own_size_are_kept(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, found: list[float], kept: int
) -> None:
    monkeypatch.setattr(Judge, "_score", lambda judge, val, run, number: Best(number, found[number - 1], 1.0))
    monkeypatch.setattr(Judge, "at_start", lambda _: Best(0, 0.35, 1.0))
    network, config = block_network(), FitConfig(head_epochs=0, epochs=4, batch=12, progressive=(8, 16), rate=1e-3)
    before = [v.numpy() for v in network.weights]
    result = fit(network, colored_photos(12, 1), colored_photos(6, 2, "val"), config, context())
    assert result.best_epoch == kept
    same = all(np.array_equal(one, v.numpy()) for one, v in zip(before, network.weights, strict=True))
    assert same == (kept == 0)


def test_judging_sees_photos_at_the_size_of_the_phase(context: Callable[..., Context]) -> None:
    """The statistics and the answers are those of a network that was built for the smaller size."""
    train = colored_photos(12, 1)
    config, phase = FitConfig(batch=4), Phase("8 px", 0, 1, 1e-3, course=(0, 1), px=8)
    network, small = block_network(norm=True), block_network(norm=True, px=8)
    small.set_weights(network.get_weights())
    run = PhaseRun(network, train, train, config, 0, phase)
    run.reestimate(np.arange(12), 4)
    shrunk = np.asarray(Shrink(8, 8)(network_input(np.asarray(train.images))))
    Statistics(small).renew(shrunk, np.arange(12), 4)
    for one, other in zip(network.weights, small.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run.logits(), small.predict(shrunk, verbose=0), rtol=1e-4, atol=1e-5)
