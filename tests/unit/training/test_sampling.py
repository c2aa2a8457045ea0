"""Which photos an epoch draws, and how much each class counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherlite.training.config import FitConfig
from featherlite.training.sampling import balanced_choice, class_weights, epoch_order, micro_columns

LABELS = np.repeat([0, 1, 2], [12, 3, 0])


def test_class_weights_by_hand() -> None:
    # Balanced: 15 photos in 2 classes seen, 15 / (2 * 12) = 0.625 and 15 / (2 * 3) = 2.5; no photo: no weight.
    np.testing.assert_allclose(class_weights(LABELS, 3, FitConfig(class_weights="balanced")), [0.625, 2.5, 0])
    # Effective, beta 1/2: (1 - 1/2) / (1 - 2^-12) = 0.500122 and 0.5 / (1 - 1/8) = 0.571429, their mean over the photos
    # (12 * 0.500122 + 3 * 0.571429) / 15 = 0.514383.
    effective = class_weights(LABELS, 3, FitConfig(class_weights="effective", effective_beta=0.5))
    np.testing.assert_allclose(effective, [0.500122 / 0.514383, 0.571429 / 0.514383, 0], rtol=1e-5)
    assert class_weights(LABELS, 3, FitConfig()).tolist() == [1, 1, 1]
    alike = class_weights(LABELS, 3, FitConfig(class_weights="effective", effective_beta=0.0))
    assert alike.tolist() == [1, 1, 0]
    assert class_weights(np.array([-1, -1]), 2, FitConfig(class_weights="balanced")).tolist() == [1, 1]


def test_class_weights_leave_the_loss_as_large_as_it_was_whatever_is_drawn() -> None:
    # Drawn evenly, weights in proportion to 1/12 and 1/3 have mean 1 as 0.4 and 1.6; by roots, 12 and 3 photos come as
    # 2 and 1 of 3: w (2 + 4) / 3 = 1, so 0.5 and 2.
    for sampling, expected in (("balanced", [0.4, 1.6, 0]), ("square_root", [0.5, 2.0, 0])):
        both = FitConfig.model_validate({"class_weights": "balanced", "sampling": sampling})
        np.testing.assert_allclose(class_weights(LABELS, 3, both), expected, rtol=1e-6)


def test_weights_scale_the_targets_and_unlabelled_photos_have_none() -> None:
    from featherlite.training.batches import Batches

    labels = np.array([0, 0, 0, 1, -1, -1])
    images = np.zeros((6, 4, 4, 3), np.uint8)
    for options, sums in (({"class_weights": "balanced"}, [2 / 3, 2.0, 0]), ({}, [1, 1, 0])):
        config = FitConfig(batch=6, **options)  # type: ignore[arg-type]
        batches = Batches(images, labels, 2, config, seed=1, epoch=1, augmented=False)
        _, wanted = batches[0]
        by_label = dict(zip(labels[batches.order[0]].tolist(), wanted.sum(axis=1).tolist(), strict=True))
        assert [by_label[label] for label in (0, 1, -1)] == pytest.approx(sums)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_a_balanced_epoch_has_as_many_photos_of_every_class(counts: list[int], unlabelled: int, seed: int) -> None:
    labels = np.concatenate([np.repeat(np.arange(len(counts)), counts), np.full(unlabelled, -1)])
    for power, shares in ((1.0, np.ones(len(counts))), (0.5, np.sqrt(counts)), (0.0, np.array(counts))):
        chosen = balanced_choice(labels, power, np.random.default_rng(seed))
        assert len(chosen) == len(labels)
        many = np.bincount(labels[chosen][labels[chosen] >= 0], minlength=len(counts))
        assert (np.abs(many - sum(counts) * shares / shares.sum()) < 1 + 1e-9).all()
        assert sorted(chosen[labels[chosen] < 0].tolist()) == np.flatnonzero(labels < 0).tolist()
        for number in range(len(counts)):
            times = np.bincount(chosen, minlength=len(labels))[labels == number]
            assert times.max() - times.min() <= 1  # no photo of a class twice before all were seen


def test_a_balanced_epoch_repeats_by_seed_and_epoch() -> None:
    def drawn(seed: int, epoch: int) -> list[Any]:
        return epoch_order(15, 4, seed, epoch, labels=LABELS, power=1.0).ravel().tolist()

    assert drawn(1, 1) == drawn(1, 1)
    assert len({tuple(drawn(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4
    assert sorted(LABELS[drawn(1, 1)[:15]].tolist()).count(1) in (7, 8)
    assert not np.array_equal(drawn(1, 1), epoch_order(15, 4, 1, 1).ravel())


def test_micro_batches_keep_partners_together() -> None:
    assert micro_columns(8, 2).tolist() == [[0, 1, 6, 7], [2, 3, 4, 5]]
    assert micro_columns(6, 1).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert micro_columns(6, 2).tolist() == [[0, 1, 2], [3, 4, 5]]  # odd: not all have their partner


@pytest.mark.parametrize("options", [{}, {"mixup": 1.0, "cutmix": 1.0, "erase": 0.5}])
@pytest.mark.parametrize("count", [16, 21, 5])
def test_micro_batches_are_the_large_batch_cut_up(options: dict[str, Any], count: int) -> None:
    from featherlite.training.batches import Batches

    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    labels = np.arange(count) % 3

    def rows(batch: int, accumulate: int) -> list[list[bytes]]:
        config = FitConfig(batch=batch, accumulate=accumulate, **options)
        batches = Batches(images, labels, 3, config, seed=1, epoch=2, augmented=True)
        steps = [batches[index] for index in range(len(batches))]
        found = []
        for start in range(0, len(steps), accumulate):
            step = steps[start : start + accumulate]
            photos = [
                b"".join(np.ascontiguousarray(v[i]).tobytes() for v in inputs.values()) + wanted[i].tobytes()
                for inputs, wanted in step
                for i in range(len(wanted))
            ]
            found.append(sorted(photos))
        return found

    if count == 5:  # fewer than one step: filled up, so that all micro-batches are of one size
        assert [len(step) for step in rows(4, 2)] == [6]
    else:
        assert rows(4, 2) == rows(8, 1)
