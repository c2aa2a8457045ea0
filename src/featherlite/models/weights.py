"""Pretrained weights: none, ImageNet by download, or a file, given to a backbone layer by layer and by name.

Files are `.weights.h5`, `.keras` and the older `.h5`; all are read as HDF5 data. Nothing in them is executed, and no
pickle is opened. A file may hold more than the backbone (a top, an optimizer); what the backbone does not ask for is
left alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from featherlite.errors import RequestError
from featherlite.models.backbones import Card, Order, check_order, family_of
from featherlite.models.contract import affine_of, built_in_affine, cut, to_contract

__all__ = ["Stored", "assign", "build_backbone", "open_weights"]

SUFFIXES = (".h5", ".keras")
HEAD = "head_"


@dataclass(frozen=True)
class Stored:
    """The weights in an open file: datasets by layer name. `ours` says that a featherlite network wrote them."""

    path: Path
    layers: Mapping[str, tuple[Any, ...]]

    @property
    def ours(self) -> bool:
        """Whether they are weights of a whole featherlite network, whose input is the contract's already."""
        return any(name.startswith(HEAD) for name in self.layers)

    def find(self, name: str) -> tuple[Any, ...] | None:
        """The datasets of one layer; automatic names ('normalization_3') match whatever their number is."""
        if name in self.layers:
            return self.layers[name]
        plain = re.sub(r"_\d+$", "", name)
        if plain not in ("normalization", "layer_normalization"):
            return None
        near = [key for key in self.layers if re.fullmatch(rf"{plain}(_\d+)?", key)]
        return self.layers[near[0]] if len(near) == 1 else None


def build_backbone(order: Order, *, weights: str = "none", after: str = "") -> keras.Model:
    """A backbone on featherlite's contract: float32 [n, h, w, 3], (pixel - 128) / 128, to its feature map.

    `weights` is 'none', 'imagenet' or the path of a file. `after` names the
    layer behind which the network is cut; empty keeps all of it.

    Raises:
        RequestError: an option the backbone lacks, an input too small, weights that cannot be had or do not fit, or a
            cut where none is possible.
    """
    order = replace(order, imagenet=weights == "imagenet")
    check_order(order)
    family = family_of(order.card)
    if weights == "none":
        return _cut(to_contract(family.build(order), None, order.card.name), after)
    if weights == "imagenet":
        return _cut(_folded(_download(order), order.card), after)
    with open_weights(Path(weights)) as stored:
        original = family.build(order)
        if stored.ours:
            network = _cut(to_contract(original, None, order.card.name), after)
            assign(network, stored, order.card)
            return network
        assign(original, stored, order.card)
        return _cut(_folded(original, order.card), after)


def _cut(network: keras.Model, after: str) -> keras.Model:
    return cut(network, after) if after else network


def _folded(original: keras.Model, card: Card) -> keras.Model:
    """The network with trained weights, its own input convention folded away."""
    family = family_of(card)
    if hasattr(family, "ready"):
        family.ready(original)
    affine = affine_of(card.convention) if card.convention else built_in_affine(original)
    return to_contract(original, affine, card.name)


def _download(order: Order) -> keras.Model:
    """The network with ImageNet weights, fetched by keras.applications, which deletes what arrived in part."""
    try:
        # Keras tells of a download on stdout, which belongs to our answers.
        with contextlib.redirect_stdout(io.StringIO()):
            return family_of(order.card).build(order)
    except Exception as error:  # keras raises a bare Exception where a download fails, OSError where a file is cut off
        url = re.search(r"https?://[^\s:]+", str(error))
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        raise RequestError(
            f"The download of the ImageNet weights of {order.card.name} failed"
            f" ({'from ' + url[0] if url else reason[:200]}).",
            "Fetch that file on another machine and give its path as weights=PATH, or train from scratch with"
            f" weights=none. If {cache} holds a damaged file of an earlier attempt, delete it.",
        ) from error


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[Stored]:
    """The weights in a file, open for as long as the context lasts.

    Raises:
        RequestError: no such file, of another kind, damaged, or reaching outside itself.
    """
    if not path.is_file():
        raise RequestError(
            f"weights: there is no file {path}.", "Give 'none', 'imagenet' or the path of a weights file."
        )
    if path.suffix not in SUFFIXES:
        raise RequestError(
            f"weights: {path.name} is of an unknown kind.",
            f"Known: .weights.h5, {', '.join(SUFFIXES)}. Pickles are never read.",
        )
    with contextlib.ExitStack() as stack:
        try:
            source: Any = io.BytesIO(_member(path)) if path.suffix == ".keras" else path
            file = stack.enter_context(h5py.File(source, "r"))
            stored = Stored(path, _layers(file))
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise RequestError(f"weights: {path.name} is not a readable weights file ({reason[:120]}).") from None
        if not stored.layers:
            raise RequestError(f"weights: {path.name} holds no layer's weights.")
        yield stored


def assign(model: keras.Model, stored: Stored, card: Card) -> None:
    """Gives every layer of the model its weights from the file.

    Raises:
        RequestError: a layer is missing or has another shape: the first such, with both shapes. The model is then
            partly filled and must not be used.
    """
    for layer in _leaves(model):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        if not wanted:
            continue
        found = stored.find(layer.name)
        shapes = [tuple(dataset.shape) for dataset in found or ()]
        if found is None or shapes != wanted:
            raise RequestError(
                f"weights: {stored.path.name} does not fit {card.name}: layer '{layer.name}' wants "
                f"{_shapes(wanted)}, the file has {_shapes(shapes) if found else 'no such layer'}.",
                _why(stored, card, found is None),
            )
        layer.set_weights([np.asarray(dataset[()]) for dataset in found])
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _why(stored: Stored, card: Card, missing: bool) -> str:
    if missing:
        return f"Is it a file of another backbone than {card.name}? It has: {', '.join(list(stored.layers)[:3])}, ..."
    return "Set width to that of the file." if "width" in card.options else "Is it a file of another backbone?"


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, shape)) or "one number" for shape in shapes)


def _leaves(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield from _leaves(layer) if isinstance(layer, keras.Model) else (layer,)


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
            members = tuple(_dataset(file[name], _text(weight)) for weight in file[name].attrs["weight_names"])
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
    if level > 16:
        raise ValueError("its groups are nested too deep")
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"'{prefix}{key}' is a link to elsewhere")
        if isinstance(group[key], h5py.Group):
            yield f"{prefix}{key}", group[key]
            yield from _groups(group[key], f"{prefix}{key}/", level + 1)


def _dataset(group: Any, key: str) -> Any:
    """One dataset, which must lie in this file and hold plain numbers."""
    here = group
    for part in key.split("/"):
        if not isinstance(here.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"'{key}' is missing or a link to elsewhere")
        here = here[part]
    if not isinstance(here, h5py.Dataset) or here.external or here.is_virtual or here.dtype.kind not in "fiu":
        raise ValueError(f"'{key}' is not a plain array of numbers")
    return here


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
