"""The weights of every epoch, kept on request: plain .weights.h5 files that `build` and Keras read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from featherlite.bundle import storage_guard
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
    folder = epochs_folder(fingerprint, ctx)
    with storage_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{number:03d}.weights.h5"
        network.save_weights(draft, overwrite=True)
        draft.replace(folder / f"{number:03d}.weights.h5")
