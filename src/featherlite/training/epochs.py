"""The weights of every epoch, kept on request: plain .weights.h5 files that `build` and Keras read."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from featherlite.bundle import storage_guard, write_atomically
from featherlite.models.network import network_bytes
from featherlite.step import Context

if TYPE_CHECKING:
    import keras

__all__ = ["epochs_folder", "keep_epoch"]


def epochs_folder(fingerprint: str, ctx: Context) -> Path:
    """Where the epochs of this fit lie: in the cache, under the hash of all that the fit depends on."""
    return ctx.cache / "epochs" / fingerprint[:16]


def keep_epoch(network: keras.Model, number: int, fingerprint: str, ctx: Context) -> None:
    """Stores the network's weights as NNN.weights.h5, whole or not at all.

    Raises:
        StorageError: they cannot be written.
    """
    with storage_guard(Path(tempfile.gettempdir())):
        content = _weights(network)
    folder = epochs_folder(fingerprint, ctx)
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{number:03d}.weights.h5", content)


def _weights(network: keras.Model) -> bytes:
    """What `save_weights` would write, taken out of a .keras file, for which Keras lets h5py write to memory.

    On a disk that fills up, h5py's own file may bring the process down as it is closed: a segmentation fault inside
    HDF5 1.14, which nothing can catch.
    """
    with zipfile.ZipFile(io.BytesIO(network_bytes(network))) as archive:
        return archive.read("model.weights.h5")
