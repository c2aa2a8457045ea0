"""Drops classes: the output layer is sliced, labels, photos and metrics follow, and the head recovers first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.shrink.selective import SelectiveConfig
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from featherlite.shrink.recovery import Ward

WAYS = ("drop", "drop_file", "keep", "keep_file")


class PruneOutputsConfig(SelectiveConfig):
    """Which classes go, or which stay."""

    drop: tuple[str, ...] = Field((), description="classes to drop, by name, scientific name or taxon key")
    drop_file: Path | None = Field(None, description="text file with the classes to drop, one a line")
    keep: tuple[str, ...] = Field((), description="classes to keep, named likewise; all others go")
    keep_file: Path | None = Field(
        None, description="text file with the classes to keep, one a line, such as the list of a region"
    )
    unknown: Literal["refuse", "skip"] = Field(
        "refuse",
        description="names that the bundle has no class for: refuse them, or skip them with a warning (a region's list"
        " has more species than a network knows)",
    )

    idle: ClassVar[Mapping[str, str]] = {
        **SelectiveConfig.idle,
        "max_drop": "classes go because they are named, and the rest only gain",
    }

    @model_validator(mode="after")
    def _one_way(self) -> PruneOutputsConfig:
        if self._asked({"drop", "drop_file"}) and self._asked({"keep", "keep_file"}):
            raise ValueError("drop and keep say the same from two sides: give one of them")
        return self

    def _asked(self, keys: set[str]) -> bool:
        return any(getattr(self, key) for key in keys)

    def lacking(self) -> str:
        """The classes, where none are named."""
        return "" if self._asked(set(WAYS)) else f"needs to know which classes go: give one of {', '.join(WAYS)}."

    def files(self) -> tuple[Path, ...]:
        """The lists that are named, and what a teacher is read from."""
        return (*super().files(), *(file for file in (self.drop_file, self.keep_file) if file is not None))


@step(needs=("splits", "network", "labels", "preprocess"), provides=("network", "splits", "labels"))
def prune_outputs(bundle: Bundle, config: PruneOutputsConfig, ctx: Context) -> Bundle:
    """The bundle with fewer classes, in the order that they had; photos of the others leave its splits.

    Raises:
        RequestError: a name means no class (the nearest is suggested) or several; fewer than two classes would stay.
        DataError: a list cannot be read.
    """
    import numpy as np

    from featherlite.models.network import load_network, network_bytes
    from featherlite.models.surgery.dense import output_dense, with_outputs
    from featherlite.shrink.classes import mend_head, with_classes
    from featherlite.shrink.recovery import Ward
    from featherlite.shrink.selective import settled

    kept = np.array(_kept(bundle, config, ctx), np.int64)
    if len(kept) == len(bundle.labels):
        ctx.warn(f"All {len(kept)} classes stay: the network is as it came.")
        return bundle
    network = load_network(bundle)
    kernel, *bias = output_dense(network).get_weights()
    sliced = settled(with_outputs(network, kernel[:, kept], bias[0][kept] if bias else None), ctx.seed)
    fewer = with_classes(bundle, kept.tolist())
    ward = Ward.open(fewer, config, ctx)
    passed = mend_head(ward, sliced, ctx, "fewer")
    result = fewer.with_network(network_bytes(passed[-1].network))
    _record(bundle, kept, _before(network, ward, kept), [one.facts for one in passed], ctx)
    _tell_empty(fewer, ctx)
    return result


def _kept(bundle: Bundle, config: PruneOutputsConfig, ctx: Context) -> list[int]:
    """The numbers of the classes that stay."""
    from featherlite.shrink.classes import listed, places_of, read_names, refuse_unknown

    labels = bundle.labels
    named: set[int] = set()
    skipped: list[str] = []
    keys: list[str] = []
    for key in WAYS:
        value = getattr(config, key)
        if not value:
            continue
        found = places_of(read_names(value, key) if key.endswith("_file") else value, labels)
        keys.append(key)
        if config.unknown == "refuse":
            refuse_unknown(key, found.unknown, labels)
        named |= set(found.places)
        skipped += found.unknown
    if not named:
        refuse_unknown(" and ".join(keys), skipped, labels)
        raise RequestError("No class was named.", config.lacking())
    if skipped:
        ctx.warn(f"{len(skipped)} names are no classes of the bundle and were skipped: {listed(skipped)}.")
    dropping = bool(config.drop or config.drop_file)
    kept = [place for place in range(len(labels)) if (place in named) != dropping]
    if len(kept) < 2:
        left = f"only '{labels[kept[0]].name}'" if kept else "no class"
        raise RequestError(
            f"Of {len(labels)} classes {left} would stay, and a classifier needs two or more.",
            "Drop fewer, or keep more.",
        )
    return kept


def _before(network: keras.Model, ward: Ward, kept: NDArray[np.int64]) -> float | None:
    """Validation top-1 on the photos that stay of the network that came, which may answer with any of its classes."""
    from featherlite.models.logits import network_logits

    if ward.val is None:
        return None
    answers = network_logits(network, ward.val.images).argmax(axis=1)
    return float((answers == kept[ward.val.labels]).mean())


def _record(
    bundle: Bundle, kept: NDArray[np.int64], before: float | None, stages: list[dict[str, Any]], ctx: Context
) -> None:
    dropped = sorted(set(range(len(bundle.labels))) - set(kept.tolist()))
    ctx.record(
        "prune_outputs",
        {
            "classes": [len(bundle.labels), len(kept)],
            "dropped": [bundle.labels[place].name for place in dropped],
            "top1": {"before": before, "sliced": stages[0]["top1"], "after": stages[-1]["top1"]},
            "recovery": stages[1:],
        },
    )


def _tell_empty(bundle: Bundle, ctx: Context) -> None:
    """Warns of classes that stay without a photo to learn from."""
    from featherlite.data.splits import read_splits
    from featherlite.shrink.classes import listed

    taught = set(read_splits(bundle).of("train").label)
    empty = [label.name for label in bundle.labels if label.name not in taught]
    if empty:
        ctx.warn(f"{len(empty)} classes stay without a training photo: {listed(empty)}.")
