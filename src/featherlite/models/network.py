"""The network of a bundle: read in safe mode, written as data, counted."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlite.bundle import NETWORK, Bundle
from featherlite.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    import keras

__all__ = ["count_macs", "count_parameters", "float32_bytes", "load_network", "network_bytes", "network_from"]

STOCK = (
    "activations",
    "constraints",
    "dtype_policies",
    "initializers",
    "layers",
    "models",
    "ops",
    "random",
    "regularizers",
)
"""The parts of Keras that a network may name: not its utilities, which fetch files, nor its saving code."""
RUNS_CODE = ("FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "__lambda__")
"""What carries code of its own even there."""


def load_network(bundle: Bundle) -> keras.Model:
    """The bundle's network, uncompiled: float32 [n, h, w, 3], (pixel - 128) / 128 -> logits, float32 [n, classes].

    Raises:
        BundleError: no network, a damaged one, or one that holds code or layers that are not Keras's own.
        MissingExtraError: Keras is not installed.
    """
    source = bundle.files.get(NETWORK)
    if source is None:
        bundle.read(NETWORK)  # raises the error that names the bundle and the file
    return network_from(source if isinstance(source, Path) else bundle.read(NETWORK))


def network_from(source: Path | bytes) -> keras.Model:
    """The network in a .keras file or its bytes, uncompiled.

    Raises:
        BundleError: damaged, or it holds code or layers that are not Keras's own.
        MissingExtraError: Keras is not installed.
    """
    if isinstance(source, bytes):
        with tempfile.TemporaryDirectory(prefix="featherlite-") as folder:
            file = Path(folder) / NETWORK
            file.write_bytes(source)
            return network_from(file)
    models = _keras("Loading a network").models
    _refuse_foreign(source)
    try:
        model = models.load_model(source, compile=False, safe_mode=True)
    except Exception as error:  # whatever a hostile or broken archive makes Keras raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{source.name} cannot be loaded safely: {reason[:200]}") from error
    if not isinstance(model, models.Model):
        raise BundleError(f"{source.name} holds a {type(model).__name__}, not a network.")
    return model


def network_bytes(model: keras.Model) -> bytes:
    """The network as a .keras file: graph and weights, no code. The same network gives the same bytes."""
    _keras("Saving a network")
    with tempfile.TemporaryDirectory(prefix="featherlite-") as folder:
        file = Path(folder) / NETWORK
        model.save(file)
        return _without_dates(file)


def count_parameters(model: keras.Model) -> int:
    """All weights of the network, trained or not."""
    return int(model.count_params())


def float32_bytes(model: keras.Model) -> int:
    """Bytes of the weights at four bytes each."""
    return 4 * count_parameters(model)


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates for one photo."""
    from featherlite.models import macs

    return macs.count_macs(model)


def _keras(what: str) -> Any:
    try:
        import keras
    except ImportError:
        raise MissingExtraError("train", what) from None
    return keras


def _refuse_foreign(file: Path) -> None:
    """Refuses a graph that names anything outside Keras, before Keras reads it.

    Safe mode refuses pickled lambdas alone; a registered or imported class of another package would still be looked up.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = {info.filename for info in archive.infolist()}
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{file.name} is not a .keras file ({type(error).__name__}).") from None
    foreign = names - {"config.json", "metadata.json", "model.weights.h5"}
    if foreign:
        raise BundleError(f"{file.name} holds an unexpected file: {sorted(foreign)[0]!r}.")
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            _check_class(value, file.name)
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _check_class(entry: dict[str, Any], where: str) -> None:
    name = entry.get("class_name")
    if name is None:
        return
    module = "keras" if entry.get("module") is None else str(entry["module"])
    parts = [part for part in module.split(".") if part != "src"]
    stock = parts[0] == "keras" and (len(parts) == 1 or parts[1] in STOCK)
    if not stock or name in RUNS_CODE:
        raise BundleError(
            f"{where} holds '{module}.{name}', which is not a stock layer of Keras: it could run foreign code.",
            "featherlite loads networks of stock layers only.",
        )


def _without_dates(file: Path) -> bytes:
    """The archive's bytes without the date of saving and addresses in memory: the same network has the same hash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": ""}).encode()
            elif name == "config.json":
                content = json.dumps(_renumbered(json.loads(content), {})).encode()
            new.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _renumbered(value: Any, ids: dict[Any, int]) -> Any:
    """The graph with its shared objects counted from 0: Keras names them by where they lay in memory."""
    if isinstance(value, list):
        return [_renumbered(one, ids) for one in value]
    if isinstance(value, dict):
        return {
            key: ids.setdefault(one, len(ids)) if key == "shared_object_id" else _renumbered(one, ids)
            for key, one in value.items()
        }
    return value
