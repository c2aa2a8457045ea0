"""The weights of every epoch, kept on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featherlite.errors import StorageError
from featherlite.step import Context
from featherlite.training.fit import FitConfig, fit

from .conftest import colored_photos, tiny_network

QUICK = FitConfig(head_epochs=1, epochs=2, batch=12, rate=0.02, keep_epochs=True)


def test_every_epoch_is_kept_and_reads_back(context: Callable[..., Context]) -> None:
    """On features and on photos alike; what is kept is what was judged, averages where there are any."""
    network, ctx = tiny_network(), context()
    result = fit(network, colored_photos(12, 1), colored_photos(6, 2, "val"), QUICK, ctx)
    folder = Path(ctx.details["epochs_kept"])
    assert sorted(file.name for file in folder.iterdir()) == [f"00{n}.weights.h5" for n in (1, 2, 3)]
    assert folder.is_relative_to(ctx.cache)
    loaded = tiny_network(seed=9)
    states = []
    for number in (1, 2, 3):
        loaded.load_weights(folder / f"00{number}.weights.h5")
        states.append([weight.copy() for weight in loaded.get_weights()])
    assert not np.array_equal(states[0][-2], states[1][-2])
    for kept, best in zip(states[result.best_epoch - 1], network.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, best)
    del ctx.details["epochs_kept"]
    fit(tiny_network(), colored_photos(12, 1), colored_photos(6, 2, "val"), QUICK, ctx)  # resumed when all is done
    assert ctx.details["epochs_kept"] == str(folder)


def test_a_folder_that_cannot_be_made_stops_with_its_name(context: Callable[..., Context]) -> None:
    ctx = context()
    ctx.cache.write_text("a file")
    with pytest.raises(StorageError, match="cache"):
        fit(tiny_network(), colored_photos(12, 1), None, QUICK, ctx)
