"""Which classes stay, by name, list or file; what that means for labels and splits; and the head's own recovery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlite.errors import DataError, RequestError, did_you_mean
from featherlite.shrink.milestones import Reached
from featherlite.shrink.recovery import Ward
from featherlite.step import Context

if TYPE_CHECKING:
    import keras

    from featherlite.bundle import Bundle, Label

__all__ = ["Naming", "listed", "mend_head", "places_of", "read_names", "refuse_unknown", "with_classes"]

MAX_BYTES = 16 << 20
SHOWN = 5


@dataclass(frozen=True)
class Naming:
    """The classes that some names mean: their numbers, sorted, and the names that mean none."""

    places: tuple[int, ...]
    unknown: tuple[str, ...]


def read_names(file: Path, key: str) -> tuple[str, ...]:
    """The names in a text file, one a line; blank lines do not count. `key` is the setting that named the file.

    Raises:
        DataError: it cannot be read, is no text, or names nothing.
    """
    hint = "Give a text file with one class a line."
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{key}: {file} is too large for a list of classes ({file.stat().st_size} bytes).", hint)
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{key}: {file} cannot be read: {error.strerror}.", hint) from None
    except UnicodeDecodeError:
        raise DataError(f"{key}: {file} is not UTF-8 text.", "Save the file as UTF-8.") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names:
        raise DataError(f"{key}: {file} names no class: it is empty.", hint)
    return names


def places_of(names: Sequence[str], labels: Sequence[Label]) -> Naming:
    """The classes that the names mean: by their name, scientific name or taxon key, as written or but for the case.

    Raises:
        RequestError: a name is blank, or means several classes.
    """
    exact, loose = _Index(labels, str), _Index(labels, _folded)
    places, unknown = set[int](), list[str]()
    for name in names:
        if not name.strip():
            raise RequestError("A class name is blank.", "Name the classes as labels.json does.")
        found = exact.of(name) or loose.of(name)
        if len(found) > 1:
            raise RequestError(
                f"'{name}' means several classes: {listed([labels[place].name for place in sorted(found)])}.",
                "Name each as labels.json does.",
            )
        places |= found
        unknown += [] if found else [name]
    return Naming(tuple(sorted(places)), tuple(unknown))


def refuse_unknown(key: str, names: Sequence[str], labels: Sequence[Label]) -> None:
    """Nothing, where no name is left over.

    Raises:
        RequestError: some are; the nearest class to the first is suggested.
    """
    if names:
        more = f" (and {len(names) - 1} more names)" if len(names) > 1 else ""
        known = [label.name for label in labels]
        near = did_you_mean(names[0], known)
        hint = near if near.startswith("Did") else f"The bundle's classes are {listed(known)}."
        raise RequestError(f"{key}: the bundle has no class '{names[0]}'{more}.", hint)


def with_classes(bundle: Bundle, places: Sequence[int]) -> Bundle:
    """The bundle with these classes alone, in their order: photos of others leave. Its network is as it was."""
    from featherlite.data.splits import Splits, read_splits, write_splits

    labels = tuple(bundle.labels[place] for place in places)
    names = {label.name for label in labels}
    splits = Splits.from_rows(row for row in read_splits(bundle).rows() if row[2] in names)
    return bundle.with_files({"splits.parquet": write_splits(splits)}).with_labels(labels)


def _head_sets(network: keras.Model) -> list[tuple[str, ...]]:
    """The layers that train after a change of the classes: the output layer first, then all dense layers."""
    from featherlite.models.surgery.dense import dense_part, output_dense

    output, whole = (output_dense(network).name,), dense_part(network)
    return [output] if set(whole) == set(output) else [output, whole]


def mend_head(ward: Ward, network: keras.Model, ctx: Context, name: str) -> list[Reached]:
    """The networks on the way from a change of the classes to the end of their recovery, one a stage.

    Output layer alone, all dense layers, then outward. `facts` has `top1` and what trained.
    """
    from featherlite.shrink.selective import train_alone

    passed, sets = [Reached(network, {"top1": ward.top1(network), "layers": []})], _head_sets(network)
    for number, layers in enumerate(sets, start=1):
        passed.append(train_alone(ward, _further(passed, ctx), layers, ctx, f"{name}-alone-{number}"))
    outward = ward.recover(_further(passed, ctx), sets[0], ctx, name)
    return [*passed, outward] if outward.facts["stages"] else passed


def _further(passed: Sequence[Reached], ctx: Context) -> keras.Model:
    """The last network that was passed, as one of its own: training changes a network in place."""
    from featherlite.models.surgery.rebuild import rebuild
    from featherlite.shrink.selective import settled

    return settled(rebuild(passed[-1].network), ctx.seed)


def listed(names: Sequence[str]) -> str:
    """The first names of a list, quoted, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


class _Index:
    """The classes by each of their names, in one form of them."""

    def __init__(self, labels: Sequence[Label], form: Any) -> None:
        self.form = form
        self.levels: list[dict[str, set[int]]] = []
        for field in ("name", "scientific_name", "taxon_key"):
            level: dict[str, set[int]] = {}
            for place, label in enumerate(labels):
                value = getattr(label, field)
                if value:
                    level.setdefault(form(value), set()).add(place)
            self.levels.append(level)

    def of(self, name: str) -> set[int]:
        """The numbers of the classes that have this name; by the display name before the others."""
        return next((level[self.form(name)] for level in self.levels if self.form(name) in level), set())


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
