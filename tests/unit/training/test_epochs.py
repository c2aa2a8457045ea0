"""The weights of every epoch, kept on request."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featherlite.errors import StorageError
from featherlite.step import Context
from featherlite.training.epochs import epochs_folder, keep_epoch
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


def test_photos_prepared_otherwise_have_a_folder_of_their_own(context: Callable[..., Context]) -> None:
    """The same paths and labels, brighter; else one training would write over the weights of another."""
    from dataclasses import replace

    photos, folders = colored_photos(12, 1), set()
    for brighter in (0, 8):
        images, ctx = np.minimum(photos.images[:].astype(np.int16) + brighter, 255).astype(np.uint8), context()
        fit(tiny_network(), replace(photos, images=images), None, QUICK, ctx)
        folders.add(ctx.details["epochs_kept"])
    assert len(folders) == 2


def test_a_folder_that_cannot_be_made_stops_with_its_name(context: Callable[..., Context]) -> None:
    ctx = context()
    ctx.cache.write_text("a file")
    with pytest.raises(StorageError, match="cache"):
        fit(tiny_network(), colored_photos(12, 1), None, QUICK, ctx)


def dense(width: int, layers: int) -> Any:
    """A network of square kernels, which the file holds each in a piece of its own."""
    import keras

    return keras.Sequential([keras.Input((width,)), *(keras.layers.Dense(width) for _ in range(layers))])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 512 KiB, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(("width", "layers"), [(290, 1), (90, 10)], ids=["large pieces", "small pieces"])
def test_a_full_disk_leaves_the_epochs_before_it(small_disk: Path, width: int, layers: int, tmp_path: Path) -> None:
    """HDF5 writes small pieces as it closes a file; if that fails, it takes the process down instead of raising."""
    ctx, network = Context(0, tmp_path, tmp_path, small_disk), dense(width, layers)
    folder = epochs_folder("f" * 64, ctx)
    keep_epoch(network, 1, "f" * 64, ctx)
    first = (folder / "001.weights.h5").read_bytes()
    assert 256 << 10 < len(first) < 512 << 10, "there is room for one"
    with pytest.raises(StorageError, match="the disk is full") as refusal:
        keep_epoch(network, 2, "f" * 64, ctx)
    assert str(folder) in refusal.value.message
    assert [file.name for file in folder.iterdir()] == ["001.weights.h5"]
    assert (folder / "001.weights.h5").read_bytes() == first
    (folder / "001.weights.h5").unlink()
    keep_epoch(network, 2, "f" * 64, ctx)
    assert (folder / "002.weights.h5").read_bytes() == first


def test_half_a_file_is_taken_away(context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a training: the second epoch's file breaks off in the middle, and the first one's stays whole."""
    import featherlite.bundle as bundle

    write, halves = bundle._write, list[Path]()

    def fills_up(source: Any, target: Path) -> str:
        if "002.weights.h5" not in target.name:
            return write(source, target)
        target.write_bytes(source[: len(source) // 2])
        halves.append(target)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle, "_write", fills_up)
    ctx = context()
    with pytest.raises(StorageError, match="the disk is full"):
        fit(tiny_network(), colored_photos(12, 1), None, QUICK, ctx)
    (half,) = halves
    assert [file.name for file in half.parent.iterdir()] == ["001.weights.h5"]
    tiny_network(seed=9).load_weights(half.parent / "001.weights.h5")
