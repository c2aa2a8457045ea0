"""A fit killed with SIGKILL goes on from its last epoch and ends with the very same weights."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.errors import StorageError
from featherlite.step import Context
from featherlite.training.fit import FitConfig, fit

from .conftest import block_network, colored_photos, tiny_network

CONFIG = FitConfig(head_epochs=2, head_rate=0.02, epochs=4, batch=8, rate=0.02, ema=0.9)
STEPS = 3
STAGED = FitConfig(
    head_epochs=1,
    epochs=8,
    batch=4,
    accumulate=2,
    rate=0.1,
    schedule="plateau",
    plateau_patience=1,
    warmup=0.0,
    unlock_stages=2,
    progressive=(8, 12, 16),
    optimizer="sgd",
    sampling="balanced",
    ema=0.5,
)
"""Sizes change within a stage, and plateaus within both: all that the state must carry along."""


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


def train(root: Path, kill_at: int = 0, *, staged: bool = False) -> tuple[Any, Any, Counter]:
    counter = Counter(kill_at)
    scratch = root / f"scratch{os.getpid()}"
    scratch.mkdir(parents=True, exist_ok=True)
    network, config = (block_network(norm=True), STAGED) if staged else (tiny_network(), CONFIG)
    ctx = Context(5, scratch, root / "resume", root / "cache", progress=counter)
    val = colored_photos(12, 2, "val")
    if staged:  # wrong labels: the more is learned, the higher the loss, so that the rate falls
        val = replace(val, labels=(val.labels + 1) % 3)
    return network, fit(network, colored_photos(24, 1), val, config, ctx), counter


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


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Any]:
    """Last state and result of a staged fit that nobody broke off; its rate fell in either stage."""
    root = tmp_path_factory.mktemp("staged")
    _, result, counter = train(root, staged=True)
    assert counter.steps == 9 * 2 * STEPS
    rates = [entry["rate"] for entry in result.curve]
    assert rates[1] == rates[5] == pytest.approx(0.1)
    assert min(rates[1:5]) < 0.1
    assert min(rates[5:]) < 0.1
    return last_state(root), result


def last_state(root: Path) -> list[Any]:
    """All weights after the last epoch, the optimizer's state and the kept weights."""
    with np.load(root / "resume" / "fit.npz") as stored:
        return [stored[name] for name in sorted(stored) if name != "state"]


def killed(root: Path, at: int, *, staged: bool = False) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        f"from training.test_killed import train; train(Path(sys.argv[2]), int(sys.argv[3]), staged={staged})"
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


@pytest.mark.parametrize(
    "epochs_done",
    [
        3,  # in a second size and a lowered rate, within the first stage
        pytest.param(5, marks=pytest.mark.slow),  # in the first epoch of the second stage
        pytest.param(8, marks=pytest.mark.slow),
    ],
)
def test_killed_in_mid_stage(tmp_path: Path, staged: tuple[list[Any], Any], epochs_done: int) -> None:
    expected, result = staged
    killed(tmp_path, epochs_done * 2 * STEPS + 3, staged=True)  # between two micro-batches of a step
    _, again, counter = train(tmp_path, staged=True)
    assert counter.steps == (9 - epochs_done) * 2 * STEPS
    for mine, theirs in zip(expected, last_state(tmp_path), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert without_seconds(result.curve) == without_seconds(again.curve)


def test_a_full_disk_at_a_checkpoint(
    tmp_path: Path, staged: tuple[list[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of the epoch before is intact, and training goes on from it once there is room."""
    import featherlite.training.checkpoint as checkpoint

    write, written = checkpoint.write_atomically, list[Path]()

    def fills_up(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", fills_up)
    with pytest.raises(StorageError, match="the disk is full"):
        train(tmp_path, staged=True)
    _, again, counter = train(tmp_path, staged=True)
    assert counter.steps == 6 * 2 * STEPS
    assert without_seconds(staged[1].curve) == without_seconds(again.curve)
    for mine, theirs in zip(staged[0], last_state(tmp_path), strict=True):
        np.testing.assert_array_equal(mine, theirs)
