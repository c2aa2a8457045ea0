"""Adds classes with their photos: new outputs begin as the means of their features, and the head learns first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from featherlite.bundle import Bundle, Label
from featherlite.shrink.selective import SelectiveConfig
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras

    from featherlite.shrink.milestones import Reached
    from featherlite.shrink.newcomers import Newcomers
    from featherlite.shrink.recovery import Ward


class GrowOutputsConfig(SelectiveConfig):
    """Which classes are added, and where their photos lie."""

    classes: tuple[str, ...] = Field(
        (), description="classes to add; where none are named, all that have photos and that the bundle lacks"
    )
    photos: Path | None = Field(
        None,
        description="where the new classes' photos lie, if not beside the others: a folder for each class, or what else"
        " featherlite reads; they must stay there",
    )
    max_drop: float = Field(
        0.02,
        ge=0,
        le=1,
        description="validation top-1 on the former classes' photos that may be lost against the network that came; "
        "beyond it the last good stage of recovery is returned",
    )

    def labelled(self) -> tuple[Path, ...]:
        """The new photos' folder, where one is named."""
        return () if self.photos is None else (self.photos,)


@step(needs=("splits", "network", "labels", "preprocess"), provides=("network", "splits", "labels"))
def grow_outputs(bundle: Bundle, config: GrowOutputsConfig, ctx: Context) -> Bundle:
    """The bundle with new classes behind the former ones, whose outputs, photos and order stay as they were.

    Raises:
        RequestError: there is no new class, or a named one is none.
        DataError: a new class has no photo that can be used, or none to train on.
    """
    from featherlite.data.splits import write_splits
    from featherlite.models.network import load_network, network_bytes
    from featherlite.models.surgery.dense import output_dense, with_outputs
    from featherlite.shrink.classes import mend_head
    from featherlite.shrink.imprint import imprinted
    from featherlite.shrink.newcomers import find_newcomers
    from featherlite.shrink.recovery import Ward
    from featherlite.shrink.selective import settled

    network = load_network(bundle)
    output_dense(network)  # refused before photos are read
    found = find_newcomers(bundle, config.classes, config.photos, ctx)
    more = bundle.with_files({"splits.parquet": write_splits(found.splits)})
    more = more.with_labels((*bundle.labels, *(Label(name=name) for name in found.classes)))
    ward = Ward.open(more, config, ctx)
    kernel, bias = imprinted(network, ward.train, ctx.seed)
    grown = settled(with_outputs(network, kernel, bias), ctx.seed)
    passed = mend_head(ward, grown, ctx, "more")
    before = _former_top1(network, ward, len(bundle.labels))
    former = [_former_top1(one.network, ward, len(bundle.labels)) for one in passed]
    taken = _taken(ward, former, before, ctx)
    _record(bundle, found, passed, [before, *former], taken, ctx)
    return more.with_network(network_bytes(passed[taken].network))


def _former_top1(network: keras.Model, ward: Ward, classes: int) -> float | None:
    """Validation top-1 on the photos of the former classes, whatever the network may answer."""
    import numpy as np

    from featherlite.models.logits import network_logits
    from featherlite.shrink.chosen import ChosenPhotos

    if ward.val is None or not (ward.val.labels < classes).any():
        return None
    rows = np.flatnonzero(ward.val.labels < classes)
    answers = network_logits(network, ChosenPhotos(ward.val.images, rows)).argmax(axis=1)
    return float((answers == ward.val.labels[rows]).mean())


def _taken(ward: Ward, former: list[float | None], before: float | None, ctx: Context) -> int:
    """The last stage in which the former classes still hold; the last of all where none does."""
    last = len(former) - 1
    if ward.holds(former[last], before):
        return last
    good = [number for number, top1 in enumerate(former) if ward.holds(top1, before)]
    stays = f"stage {good[-1]} of {last} is kept, where they hold" if good else "no stage kept them; the last one stays"
    ctx.warn(
        f"On photos of the former classes validation top-1 fell from {before:.3f} to {former[last]:.3f}, more than "
        f"max_drop = {ward.config.max_drop:g}: {stays}."
    )
    return good[-1] if good else last


def _record(
    bundle: Bundle, found: Newcomers, passed: list[Reached], former: list[float | None], taken: int, ctx: Context
) -> None:
    """Keeps what was added, and what every stage reached, on all classes and on the former ones."""
    counts = {name: [row[4] for row in found.added if row[2] == name] for name in found.classes}
    stages = [one.facts | {"former_top1": top1} for one, top1 in zip(passed, former[1:], strict=True)]
    ctx.record(
        "grow_outputs",
        {
            "classes": [len(bundle.labels), len(bundle.labels) + len(found.classes)],
            "added": {name: {side: sides.count(side) for side in sorted(set(sides))} for name, sides in counts.items()},
            "splits_hash": found.splits.hash,
            "top1": {"before": former[0], "imprinted": passed[0].facts["top1"], "after": passed[taken].facts["top1"]},
            "former_top1": {"before": former[0], "imprinted": former[1], "after": former[1 + taken]},
            "taken": taken,
            "stages": stages,
        },
    )
