from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.training.config import FitConfig

from .conftest import PX, colored_photos


def batches(count: int = 10, seed: int = 1, epoch: int = 1, **options: Any) -> Any:
    from featherlite.training.batches import Batches

    photos = colored_photos(count, 0)
    config = FitConfig(**({"batch": 4} | options))
    return Batches(photos.images, photos.labels, 3, config, seed=seed, epoch=epoch, augmented=True)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_an_epoch_sees_every_photo_at_one_batch_size(count: int, batch: int, seed: int, epoch: int) -> None:
    from featherlite.training.batches import epoch_order, steps_per_epoch

    order = epoch_order(count, batch, seed, epoch)
    assert order.shape == (steps_per_epoch(count, batch), min(batch, count))
    assert sorted(set(order.ravel().tolist())) == list(range(count))
    assert sorted(order.ravel()[:count].tolist()) == list(range(count))  # none twice before all were seen


def test_batches_repeat_under_a_seed_and_differ_between_epochs_and_seeds() -> None:
    one, again, later, other = batches(), batches(), batches(epoch=2), batches(seed=2)
    for name in ("photos", "affine", "color"):
        np.testing.assert_array_equal(one[1][0][name], again[1][0][name])
        assert not np.array_equal(one[1][0][name], later[1][0][name])
        assert not np.array_equal(one[1][0][name], other[1][0][name])
    assert not np.array_equal(one[0][0]["affine"], one[1][0]["affine"])


def test_a_batch_is_photos_with_their_labels() -> None:
    drawn = batches(label_smoothing=0.0)
    photos = colored_photos(10, 0)
    inputs, wanted = drawn[2]
    assert inputs["photos"].dtype == np.uint8
    assert inputs["photos"].shape == (4, PX, PX, 3)
    for image, row in zip(inputs["photos"], wanted, strict=True):
        source = next(i for i in range(10) if np.array_equal(photos.images[i], image))
        assert row.argmax() == photos.labels[source]
    assert set(inputs) == {"photos", "affine", "color"}
    assert set(batches(erase=0.2, mixup=0.2)[0][0]) == {"photos", "affine", "color", "box", "share"}


def test_targets_are_smoothed_towards_all_classes() -> None:
    from featherlite.training.batches import targets

    rows = targets(np.array([2, 0]), 4, 0.2)
    np.testing.assert_allclose(rows, [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6)


def test_mixup_mixes_the_labels_in_the_same_share() -> None:
    inputs, wanted = batches(mixup=1.0, label_smoothing=0.0)[0]
    plain = batches(label_smoothing=0.0)[0][1]
    share = inputs["share"][:, None]
    np.testing.assert_allclose(wanted, share * plain + (1 - share) * plain[::-1], rtol=1e-6)
    assert wanted.sum(axis=1) == pytest.approx(np.ones(4))
