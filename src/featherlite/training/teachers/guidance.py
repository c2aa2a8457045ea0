"""What teachers add to a fit: outputs beside the logits, the losses on them, and the teachers' word for each batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from featherlite.preprocess import softmax
from featherlite.training.guide import LOGITS
from featherlite.training.teachers.answers import BLOCK, Asking
from featherlite.training.teachers.classes import outputs_for
from featherlite.training.teachers.pooled import pooled_features

__all__ = ["Direction", "Kind", "SoftLabels", "Teaching", "Voice", "soft_labels"]

Kind = Literal["logits", "features", "both", "own_labels"]

SOFT = "guide_soft"
TINY = 1e-30
MEAN_OF = 1024
"""Photos that the mean of a teacher's features is taken over, at most."""
ENDLESS = 2**31 - 1
"""So many views that none comes twice."""
SAMPLE = 7
"""The stream of random numbers that picks them."""

Word = Callable[[NDArray[np.int64], int], NDArray[np.float16]]
Floats = NDArray[np.float32]


class SoftLabels(keras.losses.Loss):  # type: ignore[misc]
    """Divergence KL(p || q), q = softmax(z / T), from the teacher's labels p, times T^2; p, z float32 [n, classes].

    Its gradient by z is T (q - p): that of the paper's equation 2, (q - p) / T, times the factor by which its section 2
    keeps the soft labels' share steady when T is changed.

    Source: G. Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531), section 2.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__(name="soft_labels")
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The divergence of each photo: [n]."""
        said = ops.log_softmax(y_pred / self.temperature, axis=-1)
        known = ops.log(ops.maximum(y_true, TINY))
        return self.temperature**2 * ops.sum(y_true * (known - said), axis=-1)


class Direction(keras.losses.Loss):  # type: ignore[misc]
    """One less the cosine between the teacher's features, of length 1, and the student's projected ones: 0 .. 2.

    Source: A. Romero et al., "FitNets" (arXiv:1412.6550), section 2.2, with directions compared instead of values.
    """

    def __init__(self) -> None:
        super().__init__(name="direction")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One less the cosine of each photo: [n]."""
        length = ops.sqrt(ops.sum(ops.square(y_pred), axis=-1, keepdims=True) + 1e-12)
        return 1.0 - ops.sum(y_true * y_pred / length, axis=-1)


def soft_labels(logits: Floats, temperature: float) -> Floats:
    """The teacher's probabilities at a temperature: float32 [n, classes]."""
    return softmax(np.asarray(logits, np.float32) / np.float32(temperature))


class Voice:
    """One teacher among those that speak: its word, and which of its outputs are the student's classes."""

    def __init__(self, asking: Asking, word: Word, student: Sequence[str], seed: int) -> None:
        self.asking, self.word = asking, word
        self.outputs = outputs_for(student, asking.teacher.facts.labels)
        self.mean: Floats = np.zeros(asking.features, np.float32)
        if asking.features:
            self.mean = self._mean_features(seed)

    def __call__(self, rows: NDArray[np.int64], view: int) -> tuple[Floats, Floats]:
        """Logits [b, its classes], and the direction in which its features differ from their mean: [b, d], length 1."""
        logits, features = self._split(self.word(rows, view))
        away = features - self.mean
        return logits, away / np.sqrt(np.square(away).sum(axis=1, keepdims=True) + np.float32(1e-12))

    def _mean_features(self, seed: int) -> Floats:
        """The mean of its features over photos under the first view: what all of them share says nothing."""
        count = len(self.asking.photos)
        rows = np.random.default_rng([seed, 0, 0, SAMPLE]).permutation(count)[:MEAN_OF]
        size = min(BLOCK, len(rows))
        whole = rows[: len(rows) // size * size].reshape(-1, size)  # blocks of one shape: another would compile anew
        features = np.concatenate([self._split(self.word(part, 0))[1] for part in whole])
        return np.asarray(features.mean(axis=0, dtype=np.float64), np.float32)

    def _split(self, words: NDArray[np.float16]) -> tuple[Floats, Floats]:
        values = words.astype(np.float32)
        return values[:, : self.asking.logits], values[:, self.asking.logits :]


class Teaching:
    """The guide of a distillation: see `featherlite.training.guide`.

    The loss is (1 - alpha) times the labels' own, plus alpha times that of the teachers: their soft labels (averaged
    over them), and `feature_weight` times the distance of directions of features (averaged over them).
    """

    def __init__(
        self,
        voices: Sequence[Voice],
        kind: Kind,
        *,
        temperature: float,
        alpha: float,
        feature_weight: float,
        views: int,
        seed: int,
    ) -> None:
        self._voices, self._kind, self._views, self._seed = tuple(voices), kind, views or ENDLESS, seed
        self._temperature, self._alpha, self._feature_weight = temperature, alpha, feature_weight

    @property
    def views(self) -> int:
        """How many draws each photo is shown under, in turn: more than there are epochs where 0 were asked for."""
        return self._views

    @property
    def identity(self) -> str:
        """Hash of the teachers and of all by which they teach."""
        teachers = [voice.asking.teacher.facts.identity for voice in self._voices]
        settings = [self._kind, self._temperature, self._alpha, self._feature_weight, self._views]
        return hashlib.sha256(json.dumps(["teaching/1", teachers, settings]).encode()).hexdigest()

    def model(self, network: keras.Model) -> keras.Model:
        """The network with the outputs that are taught: what is added stands beside its graph, not in it."""
        outputs = {LOGITS: network.outputs[0]}
        if self._soft:
            outputs[SOFT] = keras.layers.Identity(name=SOFT)(network.outputs[0])
        if self._by_features or self._own:
            pooled = pooled_features(network)
            for number, voice in enumerate(self._voices):
                width = voice.asking.features if self._by_features else voice.asking.logits
                name = _extra(number)
                start = keras.initializers.GlorotUniform(seed=self._seed + number)
                outputs[name] = keras.layers.Dense(width, name=name, kernel_initializer=start, dtype="float32")(pooled)
        return keras.Model(network.inputs[0], outputs, name=network.name)

    def losses(self) -> Mapping[str, tuple[keras.losses.Loss, float]]:
        """A loss and its weight for each output; of the logits' own the weight alone counts."""
        own = keras.losses.CategoricalCrossentropy(from_logits=True)
        losses: dict[str, tuple[keras.losses.Loss, float]] = {LOGITS: (own, 1 - self._alpha)}
        if self._soft:
            losses[SOFT] = (SoftLabels(self._temperature), self._alpha)
        share = self._alpha / len(self._voices)
        for number in range(len(self._voices)):
            if self._by_features:
                losses[_extra(number)] = (Direction(), share * self._feature_weight)
            elif self._own:
                losses[_extra(number)] = (SoftLabels(self._temperature), share)
        return losses

    def targets(self, rows: NDArray[np.int64], view: int) -> Mapping[str, Floats]:
        """The teachers' word on the photos of these rows under a view, for each output but the logits."""
        said = [voice(rows, view) for voice in self._voices]
        targets: dict[str, Floats] = {}
        if self._soft:
            each = [
                soft_labels(logits[:, voice.outputs], self._temperature)
                for voice, (logits, _) in zip(self._voices, said, strict=True)
            ]
            targets[SOFT] = np.mean(each, axis=0, dtype=np.float32)
        for number, (logits, features) in enumerate(said):
            if self._by_features:
                targets[_extra(number)] = features
            elif self._own:
                targets[_extra(number)] = soft_labels(logits, self._temperature)
        return targets

    @property
    def _soft(self) -> bool:
        return self._kind in ("logits", "both")

    @property
    def _by_features(self) -> bool:
        return self._kind in ("features", "both")

    @property
    def _own(self) -> bool:
        return self._kind == "own_labels"


def _extra(number: int) -> str:
    """Name of the output, and of its layer, that one teacher alone teaches."""
    return f"guide_{number}"
