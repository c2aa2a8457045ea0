from __future__ import annotations

import numpy as np
import pytest

from featherlite.training.schedule import SCHEDULES, Plateau, rates


def test_one_cycle_rises_from_a_25th_to_the_peak_and_falls_to_nothing() -> None:
    course = rates("one_cycle", 11, 0.5, warmup=0.5)
    assert course.dtype == np.float32
    assert course[0] == pytest.approx(0.02)  # 0.5 / 25
    assert course[5] == pytest.approx(0.5)
    assert course.argmax() == 5
    assert course[10] == pytest.approx(2e-6)  # 0.5 / 25 / 10000
    # A share of 0.7 is 2/5 of the way down: (1 + cos 72 deg) / 2 = 0.654508
    assert course[7] == pytest.approx(2e-6 + (0.5 - 2e-6) * 0.6545085)


def test_without_warmup_the_first_step_has_the_peak_rate() -> None:
    assert rates("one_cycle", 4, 0.1, warmup=0.0)[0] == pytest.approx(0.1)
    assert rates("cosine", 4, 0.1, warmup=0.0)[0] == pytest.approx(0.1)


def test_constant_is_constant_once_it_is_warm() -> None:
    assert rates("constant", 3, 0.25, warmup=0.0).tolist() == [0.25, 0.25, 0.25]
    np.testing.assert_allclose(rates("constant", 5, 0.25, warmup=0.5), [0, 0.125, 0.25, 0.25, 0.25])
    assert rates("plateau", 5, 0.25, warmup=0.5).tolist() == rates("constant", 5, 0.25, warmup=0.5).tolist()


def test_a_plateau_is_as_long_as_patience() -> None:
    plateau = Plateau()
    losses = [1.0, 0.9, 0.9, 0.95, 0.8, 0.81, 0.82, 0.83, 0.84]
    assert [plateau.reached(loss, 2) for loss in losses] == [False, False, False, True, False, False, True, False, True]
    assert plateau == Plateau(best=0.8, waited=0)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_stays_within_the_peak_and_can_do_one_step(name: str) -> None:
    course = rates(name, 50, 0.1, warmup=0.3)
    assert len(course) == 50
    assert (course >= 0).all()
    assert (course <= np.float32(0.1)).all()
    assert np.isfinite(rates(name, 1, 0.1, warmup=0.3)).all()


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_course_too_short_to_rise_and_fall_has_the_peak_rate(name: str) -> None:
    assert rates(name, 1, 0.1, warmup=0.3).tolist() == [np.float32(0.1)]
    assert rates(name, 2, 0.1, warmup=0.3).tolist() == [np.float32(0.1)] * 2
    assert rates(name, 0, 0.1, warmup=0.3).shape == (0,)


def test_the_compiled_table_gives_the_same_rates_and_then_the_last_one() -> None:
    from featherlite.training.trainee import RateTable

    table = rates("one_cycle", 7, 0.01, warmup=0.3)
    looked_up = [float(RateTable(table)(step)) for step in (0, 3, 6, 9)]
    assert looked_up == [table[0], table[3], table[6], table[6]]
