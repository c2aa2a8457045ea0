"""Files of torch as safetensors: a header of names, types, shapes and places, then plain numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import MissingExtraError, RequestError
from featherlite.models.weights.source import config_beside, pickled
from featherlite.models.weights.stored import Tensors, shown

__all__ = ["open_safetensors"]

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types that weights may have; narrow ones are widened to float32 exactly."""
PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")
"""How torch's own files begin: an archive of pickles, or a bare one."""
CONFIG_BYTES = 2**20
LARGEST = 1000
"""What a mean or a deviation of pixels in 0..1 never reaches."""
MEND = "Mend it, or take it away: ImageNet's figures hold then."


@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[Tensors]:
    """The tensors of a file. The library checks that every place lies in the file, once each, and fits its shape.

    Raises:
        MissingExtraError: safetensors is not installed.
        RequestError: a pickle under another name, or a config.json beside it that tells nonsense.
    """
    try:
        import ml_dtypes  # noqa: F401  (gives NumPy the type bfloat16, by which the library asks for it)
        from safetensors import safe_open
    except ImportError:
        raise MissingExtraError("train", "Reading safetensors") from None
    with path.open("rb") as stream:
        begins = stream.read(8)
    if begins.startswith(PICKLED) and int.from_bytes(begins, "little") > path.stat().st_size:
        raise pickled(path.name)  # no header of such a length can be in it
    with safe_open(path, framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (the library's own object)
        kinds = {name: str(part.get_dtype()) for name, part in slices.items()}
        shapes = {name: tuple(map(int, part.get_shape())) for name, part in slices.items()}

        def read(name: str) -> NDArray[np.float32]:
            if kinds[name] not in FLOATS:
                raise RequestError(
                    f"weights: '{shown(name)}' in {path.name} is of type {kinds[name]};"
                    f" weights are {', '.join(FLOATS)}.",
                    "Quantized weights cannot be fine-tuned: give those that they were made from.",
                )
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused as that
                return np.asarray(file.get_tensor(name)).astype(np.float32)

        architecture, mean, deviation = _told(path)
        yield Tensors(path, shapes, read, architecture, mean, deviation)


def _told(path: Path) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Architecture, mean and standard deviation that timm's config.json beside the file tells; empty where it does not.

    Raises:
        RequestError: it tells figures that are none.
    """
    config = config_beside(path)
    if config is None:
        return "", (), ()
    with config.open("rb") as stream:
        text = stream.read(CONFIG_BYTES)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(f"weights: {config} beside {path.name} is no JSON.", MEND) from None
    facts: dict[str, Any] = found if isinstance(found, dict) else {}
    inner = facts.get("pretrained_cfg")
    facts = facts | inner if isinstance(inner, dict) else facts
    architecture = facts.get("architecture")
    mean, deviation = _figures(facts.get("mean"), -LARGEST), _figures(facts.get("std"), 1 / LARGEST)
    if mean is None or deviation is None or bool(mean) != bool(deviation):
        raise RequestError(
            f"weights: {config} beside {path.name} tells a mean and std that are not three numbers each, of pixels in"
            " 0..1.",
            MEND,
        )
    return architecture if isinstance(architecture, str) else "", mean, deviation


def _figures(value: Any, least: float) -> tuple[float, ...] | None:
    """Three numbers from `least` on, nothing where nothing is told, None where it is nonsense."""
    if value is None:
        return ()
    numbers = isinstance(value, list) and all(type(one) in (int, float) and least <= one <= LARGEST for one in value)
    return tuple(map(float, value)) if numbers and len(value) == 3 else None
