from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featherlite.errors import StorageError
from featherlite.training.checkpoint import Best, FitState, read_state, write_state


def state(epoch: int = 3) -> FitState:
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3) * epoch, np.float32([np.pi])]
    curve = [{"epoch": 1, "loss": 0.25}]
    return FitState(
        epoch, Best(2, 0.5, 0.75), 0.2, 1, 1, True, 2, False, curve, ["careful"], weights, [np.int64(7)], weights[:1]
    )


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    write_state(tmp_path / "new" / "fit.npz", state(), "f")
    back = read_state(tmp_path / "new" / "fit.npz", "f")
    assert back is not None
    arrays = ("weights", "optimizer", "kept")
    assert {k: v for k, v in vars(back).items() if k not in arrays} == {
        k: v for k, v in vars(state()).items() if k not in arrays
    }
    for name in arrays:
        for mine, stored in zip(getattr(state(), name), getattr(back, name), strict=True):
            np.testing.assert_array_equal(mine, stored)
            assert mine.dtype == stored.dtype


def test_the_state_of_another_fit_is_not_gone_on_with(tmp_path: Path) -> None:
    write_state(tmp_path / "fit.npz", state(), "this")
    assert read_state(tmp_path / "fit.npz", "that") is None
    assert read_state(tmp_path / "absent.npz", "this") is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "pickle", "changed"])
def test_a_damaged_state_is_left_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "fit.npz"
    write_state(path, state(), "f")
    whole = path.read_bytes()
    if damage == "pickle":
        np.savez(path, state=np.array([{"code": print}], dtype=object))
    else:
        changed = whole.replace(np.float32(np.pi).tobytes(), np.float32(3).tobytes())
        path.write_bytes({"truncated": whole[:400], "empty": b"", "garbage": b"x" * 99, "changed": changed}[damage])
    assert read_state(path, "f") is None


def test_a_refused_write_names_the_folder_and_keeps_the_state_before(tmp_path: Path) -> None:
    write_state(tmp_path / "fit.npz", state(1), "f")
    with pytest.raises(StorageError, match="a parent of it is a file"):
        write_state(tmp_path / "fit.npz" / "below" / "fit.npz", state(2), "f")
    kept = read_state(tmp_path / "fit.npz", "f")
    assert kept is not None
    assert kept.epoch == 1
    assert [p.name for p in tmp_path.iterdir()] == ["fit.npz"]


def test_the_better_epoch_is_kept() -> None:
    assert Best(1, 0.5, 1.0).worse_than(Best(2, 0.6, 9.0))
    assert Best(1, 0.5, 1.0).worse_than(Best(2, 0.5, 0.9))
    assert not Best(1, 0.5, 1.0).worse_than(Best(2, 0.5, 1.0))
    assert not Best(1, 0.5, 1.0).worse_than(Best(2, 0.4, 0.1))
    assert Best(1).worse_than(Best(2))  # without validation the later one
