"""Which naming a file of torch's tensors is in, behind which prefix, and whether anything in it is left over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from featherlite.errors import RequestError
from featherlite.models.backbones import Card, backbones
from featherlite.models.weights.namings import Naming, namings_of
from featherlite.models.weights.namings.naming import Layout, layout_told
from featherlite.models.weights.stored import Tensors, shown

__all__ = ["Match", "match"]

WRAPPERS = frozenset(
    (
        "module",
        "model",
        "backbone",
        "net",
        "network",
        "encoder",
        "trunk",
        "_orig_mod",
        "base_model",
        "feature_extractor",
    )
)
"""What training code wraps a network in; names begin with one or several of them."""
HEADS = frozenset(("fc", "classifier", "head", "heads", "last_linear", "head_fc", "pre_logits"))
"""What classifiers are called: they are left alone, whatever their classes."""
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Match:
    """A naming that fits a file, and the prefix before each of its names."""

    naming: Naming
    prefix: str

    def tensor(self, module: str, part: str) -> str:
        """The name in the file of a module's part; LayerScale's module is the tensor itself."""
        return f"{self.prefix}{module}.{part}" if part else f"{self.prefix}{module}"


def match(tensors: Tensors, card: Card, layout: Layout | None) -> Match:
    """The naming and prefix that most of the card's layers are found under.

    `layout` decides between namings that differ in it alone; None asks the file: its architecture in timm's
    config.json, else its name, where 'tf_' tells weights that were converted from TensorFlow.

    Raises:
        RequestError: no weights of torch are read for this backbone, the file is not in any known naming, holds the
            network twice, holds more than the backbone, or `layout` is one that it never has.
    """
    namings = namings_of(card)
    if not namings:
        able = ", ".join(sorted(name for name, other in backbones().items() if namings_of(other)))
        raise RequestError(
            f"weights: no weights in torch's naming fit {card.name} exactly, so none are read.",
            f"These have it: {able}.",
        )
    allowed = _of_layout(namings, tensors, card, layout)
    counted = {
        (index, prefix): _found(tensors, naming, prefix)
        for index, naming in enumerate(allowed)
        for prefix in _prefixes(tensors.shapes)
    }
    best = max(counted.values())
    index, prefix = next(key for key, count in counted.items() if count == best)
    if best == 0:
        raise _foreign(tensors, card, allowed)
    again = sorted(other for (which, other), count in counted.items() if which == index and count == best)
    if len(again) > 1:
        raise RequestError(
            f"weights: {tensors.path.name} holds {card.name} {len(again)} times, under the prefixes"
            f" {', '.join(repr(name) for name in again)}.",
            "Keep one of them in the file.",
        )
    found = Match(allowed[index], prefix)
    _refuse_more(tensors, found, card)
    return found


def likely(tensors: Tensors, card: Card) -> str:
    """A hint at the backbone whose layers the file names, where it is another one."""
    fits: dict[str, int] = {}
    for name, other in backbones().items():
        for naming in namings_of(other):
            for prefix in _prefixes(tensors.shapes):
                if _found(tensors, naming, prefix) == len(naming.layers):
                    fits[name] = max(fits.get(name, 0), len(naming.layers))
    most = max(fits.values(), default=0)
    names = sorted(name for name, count in fits.items() if count == most)
    if names and card.name not in names:
        return f"Its layers are named as those of {' and '.join(names)}."
    return f"It has: {', '.join(map(shown, list(tensors.shapes)[:3]))}, ..."


def _of_layout(namings: tuple[Naming, ...], tensors: Tensors, card: Card, layout: Layout | None) -> tuple[Naming, ...]:
    """The namings of the layout that is asked for, or that the file tells of; those without a choice stay."""
    known = {naming.layout for naming in namings if naming.layout}
    if layout is not None and layout not in known and (known or layout == "tensorflow"):
        raise RequestError(
            f"weights: {card.name} has no weights of the layout '{layout}'.", f"Set weights_layout to {_other(layout)}."
        )
    told = layout_told(tensors.architecture or tensors.path.name)
    wanted = layout or (told if told in known else None)
    return tuple(naming for naming in namings if wanted is None or naming.layout in (None, wanted))


def _other(layout: Layout) -> Layout:
    return "torch" if layout == "tensorflow" else "tensorflow"


def _prefixes(names: Iterable[str]) -> list[str]:
    """Every chain of wrappers that a name begins with, '' first."""
    found = {""}
    for name in names:
        prefix = ""
        for part in name.split(".")[:-1]:
            if part not in WRAPPERS:
                break
            prefix += f"{part}."
            found.add(prefix)
    return sorted(found, key=len)


def _modules(names: Iterable[str]) -> set[str]:
    """Every tensor's name and its module's."""
    return {name for full in names for name in (full, full.rpartition(".")[0])}


def _found(tensors: Tensors, naming: Naming, prefix: str) -> int:
    """How many of the naming's modules are in the file."""
    modules = _modules(tensors.shapes)
    return sum(f"{prefix}{module}" in modules for module in naming.layers.values())


def _foreign(tensors: Tensors, card: Card, namings: tuple[Naming, ...]) -> RequestError:
    libraries = " or ".join(dict.fromkeys(naming.library for naming in namings))
    return RequestError(
        f"weights: {tensors.path.name} holds none of {card.name}'s layers as {libraries} name them.",
        likely(tensors, card),
    )


def _refuse_more(tensors: Tensors, found: Match, card: Card) -> None:
    """Refuses a deeper network, of which a smaller one's layers would be found and fit.

    Raises:
        RequestError: tensors stand among the backbone's that it has no place for.
    """
    modules = {found.prefix + module for module in found.naming.layers.values()}
    tops = {module.removeprefix(found.prefix).split(".")[0] for module in modules}
    more = [
        name
        for name in tensors.shapes
        if name.startswith(found.prefix)
        and (top := name.removeprefix(found.prefix).split(".")[0]) in tops
        and top not in HEADS
        and name not in modules
        and name.rpartition(".")[0] not in modules
        and not name.endswith(COUNTER)
    ]
    if more:
        rest = f" and {len(more) - 1} more have" if len(more) > 1 else " has"
        raise RequestError(
            f"weights: {tensors.path.name} holds more than {card.name}: '{shown(more[0])}'{rest} no place in it.",
            f"Is it a file of a larger network? {likely(tensors, card)}",
        )
