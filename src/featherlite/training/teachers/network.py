"""A bundle's Keras network as a teacher."""

from __future__ import annotations

import hashlib

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.bundle import NETWORK, Bundle
from featherlite.models.network import count_parameters, load_network
from featherlite.training.teachers.pooled import pooled_features
from featherlite.training.teachers.teacher import Answer, Teacher, TeacherFacts

__all__ = ["NetworkTeacher"]


class NetworkTeacher(Teacher):
    """The network of a bundle, in float32.

    Raises:
        BundleError: the bundle has no network, or a damaged one.
    """

    def __init__(self, name: str, bundle: Bundle) -> None:
        network = load_network(bundle)
        pooled = pooled_features(network)
        self._model = keras.Model(network.inputs[0], [network.outputs[0], pooled])
        facts = TeacherFacts(
            name=name,
            identity=hashlib.sha256(b"network/2" + bundle.read(NETWORK)).hexdigest(),
            labels=tuple(label.name for label in bundle.labels),
            preprocess=bundle.preprocess,
            parameters=count_parameters(network),
            features=int(pooled.shape[-1]),
        )
        super().__init__(facts)

    def answer(self, photos: NDArray[np.float32]) -> Answer:
        """As `Teacher.answer`."""
        logits, features = self._model.predict_on_batch(photos)
        return Answer(np.asarray(logits, np.float32), np.asarray(features, np.float32))
