"""Which units of a hidden dense layer matter, and the network with only those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from featherlite.shrink.chosen import ChosenPhotos, drawn
from featherlite.shrink.selective import SelectiveConfig, settled

if TYPE_CHECKING:
    import keras

    from featherlite.models.surgery.dense import HiddenDense

__all__ = ["UnitsConfig", "importance", "narrowed"]

RANKED = 8
"""The stream of random numbers that picks the photos on which units are ranked."""

Floats = NDArray[np.floating[Any]]


class UnitsConfig(SelectiveConfig):
    """Which units stay where a dense layer gets fewer, and how its weights begin."""

    start: Literal["carry", "anew"] = Field(
        "carry",
        description="carry: the units that matter keep their weights; anew: the layers whose shape changes start from "
        "random weights",
    )
    score: Literal["activation", "magnitude"] = Field(
        "activation",
        description="start carry, what matters: how much a unit varies over training photos times its outgoing weights;"
        " or the size of its incoming times its outgoing weights",
    )
    score_photos: int = Field(
        512, ge=2, le=1_000_000, description="score activation: training photos looked at, drawn by the seed"
    )

    @model_validator(mode="after")
    def _ranks_what_stays(self) -> UnitsConfig:
        idle = {"score": self.start == "anew", "score_photos": self.start == "anew" or self.score != "activation"}
        for key, useless in idle.items():
            if useless and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} does nothing with start = '{self.start}' and score = '{self.score}'")
        return self


def narrowed(
    network: keras.Model, hidden: HiddenDense, units: int, images: Any, config: UnitsConfig, seed: int
) -> tuple[keras.Model, dict[str, Any]]:
    """The network with `units` units in the layer, and what is known of the choice (JSON).

    What a removed unit adds on average goes into the constants behind it, where the photos were looked at: only what
    it tells about single photos is lost.
    """
    from featherlite.models.surgery.dense import fresh_weights, sliced_weights, with_units

    if config.start == "anew":
        weights = fresh_weights(network, hidden, units, seed)
        return settled(with_units(network, hidden, weights), seed), {"start": "anew"}
    means, scores = importance(network, hidden, images, config, seed)
    kept = np.sort(np.argsort(-scores, kind="stable")[:units])
    weights = sliced_weights(network, hidden, kept)
    gone = np.setdiff1d(np.arange(hidden.units), kept)
    for reader, mean in means.items():
        _shift(network, reader, mean[gone], gone, weights)
    facts = {"start": "carry", "score": config.score, "kept_share": _share(scores, kept)}
    return settled(with_units(network, hidden, weights), seed), facts


def importance(
    network: keras.Model, hidden: HiddenDense, images: Any, config: UnitsConfig, seed: int
) -> tuple[dict[str, Floats], Floats]:
    """Each unit's mean by the layer that reads it (empty where no photo was looked at), and its score, float [units].

    By activation: the deviation over photos, times the length of its outgoing weights. What is constant in a unit is
    worth nothing, since a bias can say it; where the reader has no place for a constant, the root mean square counts.
    """
    outgoing = {name: np.linalg.norm(network.get_layer(name).get_weights()[0], axis=1) for name in hidden.readers}
    if config.score == "magnitude":
        return {}, _incoming(network, hidden) * np.sqrt(sum(size**2 for size in outgoing.values()))
    rows = drawn(len(images), config.score_photos, [seed, RANKED], "rank units by")
    moments = _moments(network, hidden, images, rows)
    total = np.zeros(hidden.units)
    means = {}
    for name, (mean, square) in moments.items():
        if _has_constant(network, name):
            means[name] = mean
            square = np.maximum(square - mean**2, 0.0)
        total += square * outgoing[name].astype(np.float64) ** 2
    return means, np.sqrt(total)


def _incoming(network: keras.Model, hidden: HiddenDense) -> Floats:
    """The length of each unit's incoming weights; behind a BatchNorm, which takes it away, the length of its gain."""
    import keras

    for name in hidden.between:
        layer = network.get_layer(name)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            return np.asarray(np.abs(layer.get_weights()[0]))
    return np.asarray(np.linalg.norm(network.get_layer(hidden.name).get_weights()[0], axis=0))


def _moments(
    network: keras.Model, hidden: HiddenDense, images: Any, rows: NDArray[np.int64]
) -> dict[str, tuple[Floats, Floats]]:
    """Mean and mean square of every unit as each reader sees it, over those photos and all places of a map."""
    import keras

    from featherlite.training.predict import BATCH, padded_batches

    seen = keras.Model(network.inputs[0], [network.get_layer(name).input for name in hidden.readers])
    sums = np.zeros((len(hidden.readers), 2, hidden.units))
    values = np.zeros(len(hidden.readers))
    for _, count, photos in padded_batches(ChosenPhotos(images, rows), BATCH):
        answers = seen.predict_on_batch(photos)
        for number, answer in enumerate(answers if isinstance(answers, list) else [answers]):
            flat = np.asarray(answer, np.float64)[:count].reshape(-1, hidden.units)
            sums[number] += flat.sum(axis=0), (flat**2).sum(axis=0)
            values[number] += len(flat)
    return {
        name: (total[0] / count, total[1] / count)
        for name, total, count in zip(hidden.readers, sums, values, strict=True)
    }


def _has_constant(network: keras.Model, reader: str) -> bool:
    return bool(network.get_layer(reader).use_bias) or _norm_behind(network, reader) is not None


def _norm_behind(network: keras.Model, reader: str) -> Any:
    """The BatchNorm that alone reads a layer's output; None where there is none."""
    import keras

    from featherlite.models.surgery.rebuild import edges

    behind = [target for source, target in edges(network) if source.name == reader]
    return behind[0] if len(behind) == 1 and isinstance(behind[0], keras.layers.BatchNormalization) else None


def _shift(
    network: keras.Model, reader: str, mean: Floats, gone: NDArray[np.int64], weights: dict[str, list[Floats]]
) -> None:
    """Adds to a reader's bias, or takes from the mean that its BatchNorm subtracts, what the removed units gave it."""
    layer = network.get_layer(reader)
    constant = mean @ layer.get_weights()[0][gone].astype(np.float64)
    if layer.use_bias:
        weights[reader] = [weights[reader][0], weights[reader][1] + constant]
        return
    norm = _norm_behind(network, reader)
    values = weights.get(norm.name) or norm.get_weights()
    weights[norm.name] = [*values[:-2], values[-2] - constant, values[-1]]


def _share(scores: Floats, kept: NDArray[np.int64]) -> float:
    """The share of all squared scores that the kept units have."""
    total = float((scores.astype(np.float64) ** 2).sum())
    return round(float((scores[kept].astype(np.float64) ** 2).sum()) / total, 6) if total else 1.0
