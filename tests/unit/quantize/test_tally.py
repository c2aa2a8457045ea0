"""What is counted at one tensor, by hand; and a network computed again from some of its layers on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featherlite.quantize.insides import dequantized, limits
from featherlite.quantize.tally import Tally, decibels
from featherlite.runtime.flatbuffer import TensorFacts


def tensor(dtype: str = "int8", scale: float | None = 0.5, zero_point: int | None = 0) -> TensorFacts:
    return TensorFacts(3, "", dtype, (1, 4), 0, 1, scale, zero_point)


def floats(*values: float) -> Any:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("signal", "noise", "ratio"), [(100, 1, 20), (1, 1, 0), (1, 0, 120), (0, 0, 120), (0, 1, -120), (1e30, 1, 120)]
)
def test_decibels_end_somewhere(signal: float, noise: float, ratio: float) -> None:
    assert decibels(signal, noise) == pytest.approx(ratio)


def test_every_kind_of_loss_is_told_apart() -> None:
    tally = Tally(tensor())
    raw = np.array([[2, 127, -128, 6]], np.int8)  # stands for 1, 63.5, -64 and 3
    exact = floats(1.25, 70.0, -64.0, 2.0)
    local = floats(1.2, 65.5, -64.0, 2.0)  # what the float layer makes of the artefact's inputs
    own = tally.add(raw, exact, local)
    assert own[0] == pytest.approx([-0.2, -2.0, 0.0, 1.0], abs=1e-5)
    assert tally.signal == pytest.approx(1.25**2 + 70**2 + 64**2 + 2**2)
    assert tally.noise == pytest.approx(0.25**2 + 6.5**2 + 0 + 1)
    assert tally.own == pytest.approx(0.04 + 4 + 1)
    assert tally.rounding == pytest.approx(0.04, abs=1e-5)
    assert tally.clipping == pytest.approx(4)
    assert (tally.at_low, tally.at_high, tally.clipped, tally.values) == (1, 1, 1, 4)
    assert tally.largest == 70.0
    assert tally.range == (-64.0, 63.5)


def test_sums_run_over_photos() -> None:
    once, twice = Tally(tensor()), Tally(tensor())
    raw, exact = np.array([[2, 127]], np.int8), floats(1.25, 70.0)
    once.add(raw, exact, exact)
    for _ in range(2):
        twice.add(raw, exact, exact)
    assert (twice.noise, twice.values, twice.clipped) == (2 * once.noise, 4, 2)


def test_a_channel_s_gain_is_taken_back() -> None:
    tally = Tally(tensor(), gain=np.array([2.0, 0.5], np.float32))
    exact = floats(1.25, 8.0, 3.0, -4.0)
    raw = np.array([[5, 8, 12, -4]], np.int8)  # 2.5, 4, 6, -2: each channel times its gain
    assert tally.add(raw, exact, exact) == pytest.approx(np.zeros((1, 4)), abs=1e-6)
    assert tally.noise == pytest.approx(0, abs=1e-10)
    assert tally.clipped == 0
    tally.add(np.array([[127, 0, 0, 0]], np.int8), floats(40.0, 0, 0, 0), floats(40.0, 0, 0, 0))
    assert tally.clipping == pytest.approx((40 - 63.5 / 2) ** 2, rel=1e-5)


def test_float_tensors_have_noise_but_no_range() -> None:
    facts = tensor("float32", None, None)
    tally = Tally(facts)
    tally.add(floats(1.0, 2.0), floats(1.0, 3.0), floats(1.0, 3.0))
    assert (tally.noise, tally.clipped, tally.at_high, tally.range, limits(facts)) == (1.0, 0, 0, None, None)
    assert limits(tensor("int16")) == (-32768, 32767)
    assert dequantized(np.array([3], np.int16), tensor("int16", 0.25, 1)) == pytest.approx([0.5])
