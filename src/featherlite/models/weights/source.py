"""What `weights` may name, told apart before anything is opened: nothing, ImageNet's, a file, a file of the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from featherlite.errors import RequestError

__all__ = [
    "NAMED_WEIGHTS",
    "HubWeights",
    "check_kind",
    "check_weights",
    "config_beside",
    "hub_weights",
    "weights_files",
]

NAMED_WEIGHTS = ("none", "imagenet")
"""What `weights` may be besides a file."""
PREFIX = "hub:"
NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(.+))?")
KERAS = (".h5", ".keras")
TORCH = (".safetensors",)
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".tar", ".npy", ".npz")
"""Suffixes under which pickles go about; NumPy's files can hold them too."""
KNOWN = "Known: .weights.h5, .h5, .keras, .safetensors, or hub:owner/name for a file of the Hugging Face hub."


@dataclass(frozen=True)
class HubWeights:
    """A file of weights on the hub, at a branch, tag or commit."""

    name: str
    file: str = "model.safetensors"
    revision: str = "main"


def hub_weights(weights: str) -> HubWeights | None:
    """The file of the hub that `weights` names, or None for anything else.

    Raises:
        RequestError: it begins with 'hub:' and names no file of weights.
    """
    if not weights.startswith(PREFIX):
        return None
    found = NAME.fullmatch(weights)
    if found is None or any(part in ("", ".", "..") for part in weights.removeprefix(PREFIX).split("/")):
        raise RequestError(
            f"weights: '{weights}' names no weights of the hub.",
            "Write hub:owner/name, hub:owner/name/file.safetensors, and @revision behind either.",
        )
    wanted = HubWeights(found[1], found[2] or "model.safetensors", found[3] or "main")
    check_kind(wanted.file)
    return wanted


def check_weights(weights: str) -> None:
    """Refuses what cannot be read before Keras takes its seconds to load.

    Raises:
        RequestError: no such file, a file of another kind, or a pickle.
    """
    check_name(weights)
    if weights not in NAMED_WEIGHTS and hub_weights(weights) is None and not Path(weights).is_file():
        raise RequestError(
            f"weights: there is no file {weights}.",
            "Give 'none', 'imagenet', the path of a weights file, or hub:owner/name.",
        )


def check_name(weights: str) -> None:
    """Refuses by the name alone, without a look at the disk.

    Raises:
        RequestError: a file of another kind, a pickle, or no name of weights on the hub.
    """
    if weights not in NAMED_WEIGHTS and hub_weights(weights) is None:
        check_kind(weights)


def check_kind(name: str) -> None:
    """Refuses a file by its suffix.

    Raises:
        RequestError: it is a pickle by its name, or of an unknown kind.
    """
    path = PurePosixPath(name)
    suffix = path.suffix.casefold()
    if suffix in PICKLES:
        raise pickled(path.name)
    if suffix not in (*KERAS, *TORCH):
        raise RequestError(f"weights: {path.name} is of an unknown kind.", f"{KNOWN} Pickles are never read.")


def pickled(name: str) -> RequestError:
    """The refusal of a pickle, with the way around it."""
    return RequestError(
        f"weights: {name} is a pickle by its kind, and pickles are never opened: reading one runs whatever is in it.",
        'If you trust where it is from, convert it where torch is installed: python -c "import sys, torch,'
        " safetensors.torch as s; w = torch.load(sys.argv[1], 'cpu', weights_only=True); w = w.get('state_dict', w);"
        " s.save_file({k: v.contiguous() for k, v in w.items()}, 'model.safetensors')\" FILE. Then give"
        " model.safetensors.",
    )


def config_beside(path: Path) -> Path | None:
    """The config.json that timm puts beside a file, which tells the input that its weights expect; None without one."""
    beside = path.with_name("config.json")
    return beside if path.suffix.casefold() in TORCH and beside.is_file() else None


def weights_files(weights: str) -> tuple[Path, ...]:
    """The local files that decide what is read; none for weights that are fetched."""
    if weights in NAMED_WEIGHTS or weights.startswith(PREFIX):
        return ()
    config = config_beside(Path(weights))
    return (Path(weights),) if config is None else (Path(weights), config)
