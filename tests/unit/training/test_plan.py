"""Phases by hand: which epochs, rates, layers and sizes a config comes to."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from featherlite.training.config import FitConfig
from featherlite.training.plan import Phase, plan

GROUPS = [["c"], ["b2", "b1"], ["a"]]


def test_head_then_all_layers() -> None:
    config = FitConfig(head_epochs=2, head_rate=0.1, epochs=3, rate=0.01)
    assert plan(config, True, [["c", "b"]]) == [
        Phase("head", 0, 2, 0.1, {}, (0, 2)),
        Phase("all", 2, 5, 0.01, {"c": 1.0, "b": 1.0}, (2, 5)),
    ]
    assert plan(config, False, [["c"]]) == [Phase("all", 0, 3, 0.01, {"c": 1.0}, (0, 3))]
    assert [phase.name for phase in plan(config.model_copy(update={"epochs": 0}), True, [["c"]])] == ["head"]
    assert plan(FitConfig(rate="auto", head_epochs=0), True, [["c"]])[0].rate is None


def test_stages_unlock_from_the_end_each_with_a_course_of_its_own() -> None:
    config = FitConfig(head_epochs=1, epochs=7, rate=0.01, unlock_stages=3, unlock_rate_decay=0.5)
    assert plan(config, True, GROUPS)[1:] == [
        Phase("stage 1/3", 1, 3, 0.01, {"c": 1.0}, (1, 3)),
        Phase("stage 2/3", 3, 5, 0.01, {"c": 1.0, "b2": 0.5, "b1": 0.5}, (3, 5)),
        Phase("stage 3/3", 5, 8, 0.01, {"c": 1.0, "b2": 0.5, "b1": 0.5, "a": 0.25}, (5, 8)),
    ]


def test_sizes_share_one_course_and_the_augmentation_may_grow_with_them() -> None:
    config = FitConfig(head_epochs=0, epochs=4, progressive=(64, 96, 128), progressive_augment=True)
    phases = plan(config, True, [["c"]])
    assert [(p.name, p.first, p.last, p.px, p.course) for p in phases] == [
        ("64 px", 0, 1, 64, (0, 4)),
        ("96 px", 1, 2, 96, (0, 4)),
        ("128 px", 2, 4, 128, (0, 4)),
    ]
    assert [phase.augment for phase in phases] == pytest.approx([1 / 3, 2 / 3, 1])


def test_stages_and_sizes_together() -> None:
    config = FitConfig(head_epochs=0, epochs=6, unlock_stages=2, progressive=(64, 96, 128))
    phases = plan(config, False, [["c"], ["b"]])
    assert [(p.name, p.first, p.last, p.course) for p in phases] == [
        ("stage 1/2, 64 px", 0, 2, (0, 3)),
        ("stage 1/2, 96 px", 2, 3, (0, 3)),
        ("stage 2/2, 96 px", 3, 4, (3, 6)),
        ("stage 2/2, 128 px", 4, 6, (3, 6)),
    ]


@given(st.integers(0, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_phases_cover_all_epochs_and_end_with_everything(
    head: int, epochs: int, stages: int, sizes: int, has_head: bool
) -> None:
    config = FitConfig(head_epochs=head, epochs=epochs, progressive=tuple(range(32, 32 + sizes)))
    phases = plan(config, has_head, [[str(number)] for number in range(stages)])
    assert phases[0].first == 0
    assert phases[-1].last == epochs + (head if has_head else 0)
    assert all(before.last == after.first for before, after in pairwise(phases))
    assert all(phase.course[0] <= phase.first < phase.last <= phase.course[1] for phase in phases)
    assert set(phases[-1].layers) == {str(number) for number in range(stages)}
    assert phases[-1].px == (31 + sizes if sizes else None)


def test_sizes_must_rise() -> None:
    with pytest.raises(ValidationError, match="must rise"):
        FitConfig(progressive=(96, 96))
