"""The state of a fit after an epoch, on disk: written whole or not at all, plain arrays, no pickle."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import storage_guard, write_atomically
from featherlite.training.schedule import Plateau

__all__ = ["Arrays", "Best", "FitState", "Snapshot", "read_state", "write_state"]

Arrays = list[NDArray[Any]]
ARRAY_FIELDS = ("weights", "optimizer", "kept", "own_kept")
"""Fields of a state that are lists of arrays; every array is stored under its field and its place."""

log = logging.getLogger("featherlite")


@dataclass
class Best:
    """The epoch kept so far and what it reached; epoch 0 is the network as it came."""

    epoch: int
    top1: float | None = None
    loss: float | None = None

    def worse_than(self, other: Best) -> bool:
        """Whether `other` is to be kept instead: by top-1, then by loss; without validation the later one."""
        if self.top1 is None or other.top1 is None or self.loss is None or other.loss is None:
            return True
        return (other.top1, -other.loss) > (self.top1, -self.loss)


class Snapshot:
    """All weights of a fit, read and set as arrays."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self.variables = tuple(variables)

    def read(self) -> Arrays:
        """Copies of the weights, in their order."""
        return [variable.numpy() for variable in self.variables]

    def assign(self, arrays: Arrays) -> None:
        """Sets the weights."""
        for variable, value in zip(self.variables, arrays, strict=True):
            variable.assign(value)


@dataclass
class FitState:
    """Everything that decides how a fit goes on; all random numbers follow from the seed and the epoch."""

    epoch: int = 0
    best: Best = field(default_factory=lambda: Best(0))
    rate_factor: float = 1.0
    optimizer_since: int = 0
    rescues: int = 0
    reestimate: bool = False
    checked_stale: int = 0
    stopped_early: bool = False
    curve: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    weights: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    kept: Arrays = field(default_factory=list)
    own_best: Best | None = None
    """While photos are seen at another size: what was best at the network's own, and beside it those weights."""
    own_kept: Arrays = field(default_factory=list)
    found_rate: float | None = None
    plateau: Plateau = field(default_factory=Plateau)

    def change_size(self, now: Arrays, *, leaves_own: bool) -> None:
        """Begins to judge anew, from these weights on: top-1 at one size of photos says nothing about another."""
        if leaves_own:
            self.own_best, self.own_kept = self.best, self.kept
        self.best, self.kept = Best(self.epoch), now
        self.plateau = Plateau()

    def settle(self) -> None:
        """Takes what was best before smaller sizes, where these brought nothing."""
        if self.own_best is not None and not self.own_best.worse_than(self.best):
            self.best, self.kept = self.own_best, self.own_kept


def write_state(path: Path, state: FitState, fingerprint: str) -> None:
    """Stores the state under `path`, replacing the one before; a kill at any moment leaves one of the two.

    Raises:
        StorageError: the disk is full or not writable; the state before is intact.
    """
    groups: dict[str, Arrays] = {name: getattr(state, name) for name in ARRAY_FIELDS}
    arrays = {f"{name}_{i}": array for name, group in groups.items() for i, array in enumerate(group)}
    plain = {key: value for key, value in asdict(_without_arrays(state)).items() if key not in ARRAY_FIELDS}
    document = {"fingerprint": fingerprint, "counts": {name: len(group) for name, group in groups.items()}} | plain
    arrays["state"] = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type] # its stub types allow_pickle's neighbors, not the arrays
    with storage_guard(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, stream.getvalue())


def read_state(path: Path, fingerprint: str) -> FitState | None:
    """The stored state, or None where there is none for this fit: absent, damaged, or of another config or data."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            document = json.loads(stored["state"].tobytes())
            counts = document.pop("counts")
            document |= {name: [stored[f"{name}_{i}"] for i in range(counts[name])] for name in ARRAY_FIELDS}
        if document.pop("fingerprint") != fingerprint:
            return None
        document["best"] = Best(**document["best"])
        document["own_best"] = document["own_best"] and Best(**document["own_best"])
        document["plateau"] = Plateau(**document["plateau"])
        return FitState(**document)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("The stored state of the training is not readable (%s); it begins again.", error)
        return None


def _without_arrays(state: FitState) -> FitState:
    """The same state with no arrays: `asdict` would copy them one by one."""
    return FitState(**{key: value for key, value in vars(state).items() if key not in ARRAY_FIELDS})
