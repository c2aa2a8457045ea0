"""Our learning-rate courses against Keras's own schedules."""

from __future__ import annotations

import numpy as np
import pytest

from featherlite.training.schedule import rates


@pytest.mark.parametrize("warm", [0, 20])
def test_cosine_is_keras_cosine_decay(warm: int) -> None:
    import keras

    steps, peak = 101, 0.2
    theirs = keras.optimizers.schedules.CosineDecay(
        0.0 if warm else peak, (steps - 1) - warm, warmup_target=peak if warm else None, warmup_steps=warm
    )
    expected = [float(theirs(step)) for step in range(steps)]
    np.testing.assert_allclose(rates("cosine", steps, peak, warm / (steps - 1)), expected, atol=1e-6)


def test_one_cycle_is_two_keras_cosine_decays() -> None:
    """The way down is a cosine decay to alpha; the way up the same mirrored in time."""
    import keras

    steps, peak, warm = 101, 0.2, 30
    down = keras.optimizers.schedules.CosineDecay(peak, steps - 1 - warm, alpha=1 / 25 / 1e4)
    up = keras.optimizers.schedules.CosineDecay(peak, warm, alpha=1 / 25)
    expected = [float(up(warm - s)) if s < warm else float(down(s - warm)) for s in range(steps)]
    np.testing.assert_allclose(rates("one_cycle", steps, peak, warm / (steps - 1)), expected, atol=1e-6)
