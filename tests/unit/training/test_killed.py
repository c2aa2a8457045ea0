"""A fit killed with SIGKILL goes on from its last epoch and ends with the very same weights."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.step import Context
from featherlite.training.fit import FitConfig, fit

from .conftest import colored_photos, tiny_network

CONFIG = FitConfig(head_epochs=2, head_rate=0.02, epochs=4, batch=8, rate=0.02, ema=0.9)
STEPS = 3


class Counter:
    """Counts the steps and kills the process at one of them, if told to."""

    def __init__(self, kill_at: int = 0) -> None:
        self.kill_at, self.steps, self.totals, self.note = kill_at, 0, list[int](), ""

    def start(self, what: str, total: int) -> None:
        self.totals.append(total)

    def advance(self, units: int = 1, note: str = "") -> None:
        self.steps += units
        self.note = note
        if self.steps == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def finish(self) -> None:
        pass


def train(root: Path, kill_at: int = 0) -> tuple[Any, Any, Counter]:
    counter = Counter(kill_at)
    scratch = root / f"scratch{os.getpid()}"
    scratch.mkdir(parents=True)
    network = tiny_network()
    ctx = Context(5, scratch, root / "resume", root / "cache", progress=counter)
    return network, fit(network, colored_photos(24, 1), colored_photos(12, 2, "val"), CONFIG, ctx), counter


def weights(network: Any) -> list[Any]:
    return [v.numpy() for v in network.variables]


def without_seconds(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in curve]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Any, Path]:
    """Weights, result and folder of a fit that nobody killed."""
    root = tmp_path_factory.mktemp("clean")
    network, result, counter = train(root)
    assert counter.steps == 6 * STEPS
    return weights(network), result, root


def killed(root: Path, at: int) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from training.test_killed import train; train(Path(sys.argv[2]), int(sys.argv[3]))"
    )
    folder = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code, folder, str(root), str(at)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("at", "epochs_done"),
    [
        pytest.param(STEPS + 2, 1, marks=pytest.mark.slow),  # in the second head epoch
        pytest.param(2 * STEPS + 1, 2, marks=pytest.mark.slow),  # at the first step with all layers
        (4 * STEPS + 2, 4),  # in the third epoch with all layers
    ],
)
def test_killed_in_mid_epoch(tmp_path: Path, clean: tuple[list[Any], Any, Path], at: int, epochs_done: int) -> None:
    expected, result, _ = clean
    killed(tmp_path, at)
    resumed, again, counter = train(tmp_path)
    assert counter.steps == (6 - epochs_done) * STEPS
    for mine, theirs in zip(expected, weights(resumed), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert without_seconds(result.curve) == without_seconds(again.curve)


def test_killed_after_the_last_epoch(tmp_path: Path, clean: tuple[list[Any], Any, Path]) -> None:
    """All epochs are stored: nothing is trained again, and the kept weights come back."""
    expected, result, root = clean
    shutil.copytree(root / "resume", tmp_path / "resume")
    resumed, again, counter = train(tmp_path)
    assert counter.steps == 0
    for mine, theirs in zip(expected, weights(resumed), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert result == again
