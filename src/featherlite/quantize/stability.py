"""How much an artefact's accuracy hangs on which photos its ranges were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featherlite.bundle import Bundle
from featherlite.models.artefact import Made, make
from featherlite.quantize.post_training import prepare
from featherlite.quantize.scheme import read_scheme
from featherlite.step import MAX_SEED, Context

if TYPE_CHECKING:
    from featherlite.data.photos import PhotoSet
    from featherlite.quantize.quantize import QuantizeConfig

__all__ = ["spread_of", "stability"]


def stability(
    bundle: Bundle, config: QuantizeConfig, seed: int, first: Made, its_set: str, ctx: Context
) -> dict[str, Any]:
    """The spread of validation top-1 over `config.sets` artefacts, each of a representative set of its own; JSON.

    `first` is the artefact of `seed`, `its_set` the hash of its representative set; the others' sets are drawn by the
    seeds after it. All run in LiteRT.
    """
    from featherlite.data.photos import load_photos

    if config.scheme == "int8" and read_scheme(bundle) is not None:
        ctx.warn("The ranges came with the network: other representative sets would change nothing; none was tried.")
        return {}
    photos = load_photos(bundle, "val", ctx)
    if not len(photos.labels):
        ctx.warn("There are no validation photos to tell how stable the artefact is.")
        return {}
    seeds, hits, hashes = [seed], [_hits(first.data, photos, ctx)], [its_set]
    for number in range(1, config.sets):
        part = ctx.part(f"set-{number + 1}")
        drawn = (seed + number) % (MAX_SEED + 1)
        prepared = prepare(bundle, config, drawn, part)
        seeds.append(drawn)
        hits.append(_hits(make(bundle, config.scheme, part, prepared.making).data, photos, part))
        hashes.append(str(prepared.facts["representative"]["hash"]))
    if len(set(hashes)) < len(hashes):
        ctx.warn("Some representative sets are the same: all training photos, or nearly all, are in each of them.")
    return {"split": "val", "n": len(photos.labels), "seeds": seeds, "hashes": hashes} | spread_of(
        [hit / len(photos.labels) for hit in hits]
    )


def spread_of(top1: Sequence[float]) -> dict[str, Any]:
    """Each set's top-1, their extremes, the spread between these, and their mean and standard deviation (n - 1)."""
    values = np.asarray(top1, dtype=np.float64)
    return {
        "sets": len(values),
        "top1": values.tolist(),
        "min": float(values.min()),
        "max": float(values.max()),
        "spread": float(np.ptp(values)),
        "mean": float(values.mean()),
        "standard_deviation": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
    }


def _hits(artefact: bytes, photos: PhotoSet, ctx: Context) -> int:
    """How many photos the artefact knows in LiteRT."""
    from featherlite.evaluate.measure import artefact_raw, cores
    from featherlite.runtime.interpreter import open_runtime

    ctx.progress.start("scoring", len(photos.labels))
    raw = artefact_raw(open_runtime("litert", artefact, threads=cores()), photos, ctx.progress)
    ctx.progress.finish()
    return int((raw.argmax(axis=1) == photos.labels).sum())
