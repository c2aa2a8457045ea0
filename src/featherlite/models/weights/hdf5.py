"""Files of Keras: `.weights.h5`, `.keras` and the older `.h5`, all read as HDF5 data."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from featherlite.models.weights.stored import Stored, shown

__all__ = ["open_hdf5"]


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Stored]:
    """The weights in a file of Keras. What a damaged file makes zipfile or h5py raise is raised as it is."""
    import h5py

    source: Any = io.BytesIO(_member(path)) if path.suffix.casefold() == ".keras" else path
    with h5py.File(source, "r") as file:
        yield Stored(path, _layers(file))


def _member(path: Path) -> bytes:
    """The weights inside a .keras archive, refused where they would swell beyond reason."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("model.weights.h5")
        if info.file_size > 4 * 1024**3 or info.file_size > 200 * max(info.compress_size, 1) + 1_000_000:
            raise ValueError("it unpacks to an unreasonable size")
        return archive.read(info)


def _layers(file: Any) -> dict[str, tuple[Any, ...]]:
    """Datasets by layer name, of Keras 3's format (groups named `vars`) or of the older one (`layer_names`)."""
    found: dict[str, tuple[Any, ...]] = {}
    if "layer_names" in file.attrs:
        for name in (_text(name) for name in file.attrs["layer_names"]):
            group = _inside(file, name)
            members = tuple(_dataset(group, _text(weight)) for weight in group.attrs["weight_names"])
            if members:
                found[name] = members
        return found
    for prefix, group in _groups(file, ""):
        if prefix.split("/", 1)[0] == "optimizer" or not prefix.endswith("vars") or "name" not in group.attrs:
            continue
        members = tuple(_dataset(group, key) for key in sorted(group.keys(), key=int))
        if members:
            found[_text(group.attrs["name"])] = members
    return found


def _groups(group: Any, prefix: str, level: int = 0) -> Iterator[tuple[str, Any]]:
    import h5py

    if level > 16:
        raise ValueError("its groups are nested too deep")
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"'{shown(prefix + key)}' is a link to elsewhere")
        if isinstance(group[key], h5py.Group):
            yield f"{prefix}{key}", group[key]
            yield from _groups(group[key], f"{prefix}{key}/", level + 1)


def _dataset(group: Any, key: str) -> Any:
    """One dataset, which must lie in this file and hold plain numbers."""
    import h5py

    here = _inside(group, key)
    if not isinstance(here, h5py.Dataset) or here.external or here.is_virtual or here.dtype.kind not in "fiu":
        raise ValueError(f"'{shown(key)}' is not a plain array of numbers")
    return here


def _inside(group: Any, key: str) -> Any:
    """What lies under that name in the group, reached over no link to elsewhere."""
    import h5py

    for part in key.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"'{shown(key)}' is missing or a link to elsewhere")
        group = group[part]
    return group


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
