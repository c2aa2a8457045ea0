"""Golden vectors: drawn inputs with the answers that every runtime must give again.

The inputs are drawn, never photos: an artefact travels, and a user's photos must not travel inside it.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import BundleError

__all__ = ["Golden", "draw_inputs", "pack_golden", "read_golden"]


@dataclass(frozen=True)
class Golden:
    """Drawn inputs and their answers.

    Inputs uint8 [n, height, width, 3]; raw outputs of the reference kernels, int8 or float32 [n, classes]; the
    network's logits, float32 [n, classes]. Where the preprocessing reduces noise or stretches levels, `frames` are what
    the inputs were before, of the same shape: they prove that step on a device.
    """

    inputs: NDArray[np.uint8]
    outputs: NDArray[Any]
    logits: NDArray[np.float32]
    frames: NDArray[np.uint8] | None = None


def draw_inputs(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Eight inputs that between them reach every pixel value and every frequency: uint8 [8, height, width, 3].

    White noise, coarse noise, a horizontal, a vertical and a radial gradient, a checker pattern, mid-grey, and random
    colored rectangles.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    across, down = columns / max(width - 1, 1), rows / max(height - 1, 1)
    radius = np.hypot(across - 0.5, down - 0.5) / np.hypot(0.5, 0.5)
    tint = np.array([1.0, 0.6, 0.3])
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    drawn = [
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width],
        _levels(across[..., None] * tint),
        _levels(down[..., None] * tint[::-1]),
        _levels((1 - radius)[..., None] * np.ones(3)),
        _levels((((rows // 4 + columns // 4) % 2)[..., None]) * np.ones(3)),
        np.full((height, width, 3), 128, dtype=np.uint8),
        _rectangles(height, width, random),
    ]
    return np.stack(drawn)


def pack_golden(golden: Golden) -> bytes:
    """golden.npz: compressed, without pickle, the same bytes for the same vectors."""
    stream = io.BytesIO()
    arrays: dict[str, Any] = {"inputs": golden.inputs, "outputs": golden.outputs, "logits": golden.logits}
    if golden.frames is not None:
        arrays["frames"] = golden.frames
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise over a file that is none of theirs, broken inside, encrypted or of absurd sizes."""


def read_golden(content: bytes, where: str = "golden.npz") -> Golden:
    """The vectors of a golden.npz.

    Raises:
        BundleError: damaged, pickled, or not of the shapes and types that belong there.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            inputs, outputs, logits = (arrays[name] for name in ("inputs", "outputs", "logits"))
            frames = arrays.get("frames")
    except _DAMAGED as error:
        raise BundleError(f"{where} cannot be read ({error}).", "Export again.") from None
    fits = inputs.dtype == np.uint8 and inputs.ndim == 4 and outputs.ndim == logits.ndim == 2
    fits &= frames is None or (frames.dtype == np.uint8 and frames.shape == inputs.shape)
    if not fits or not 0 < len(inputs) == len(outputs) == len(logits):
        shapes = ", ".join(f"{array.dtype} {list(array.shape)}" for array in (inputs, outputs, logits))
        raise BundleError(f"{where} does not hold inputs, outputs and logits that belong together: {shapes}.")
    return Golden(inputs, outputs, logits, frames)


def _levels(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(share * 255).astype(np.uint8)


def _rectangles(height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    canvas = np.full((height, width, 3), 90, dtype=np.uint8)
    for _ in range(12):
        top, left = random.integers(0, height), random.integers(0, width)
        tall, wide = random.integers(1, height // 2 + 2), random.integers(1, width // 2 + 2)
        canvas[top : top + tall, left : left + wide] = random.integers(0, 256, 3, dtype=np.uint8)
    return canvas
