"""What a teacher sees: the very cut of each photo that the student sees, at the teacher's own size.

Source: L. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (arXiv:2106.05237),
section 3.1: teacher and student are shown the same crop and the same augmentation.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.draws import SHAPES, names_of
from featherlite.training.augment.layer import Augment
from featherlite.training.guide import view_draws

__all__ = ["ViewedPhotos"]


class ViewedPhotos:
    """Photos uint8 [n, height, width, 3], as each view shows them.

    Draws scale with the size and come from the same generator, so that a cut at one size is that at another. Weather
    is left out: which photo meets which hangs on its batch. The student then learns to say in bad weather what the
    teacher says of the same cut in good.
    """

    def __init__(self, images: Any, config: AugmentConfig, seed: int) -> None:
        self.config = config = config.model_copy(update={"weather": 0.0})
        self._images, self._seed = images, seed
        self._height, self._width = images.shape[1], images.shape[2]
        inputs = {"photos": keras.Input((self._height, self._width, 3), dtype="uint8", name="photos")}
        inputs |= {name: keras.Input(SHAPES[name], name=name) for name in names_of(config)}
        self._model = keras.Model(inputs, Augment(config, name="augment")(inputs))
        self._drawn: tuple[int, dict[str, NDArray[np.float32]]] = (-1, {})

    def __len__(self) -> int:
        return len(self._images)

    def __call__(self, rows: NDArray[np.int64], view: int) -> NDArray[np.float32]:
        """The photos of these rows under a view: float32 [b, height, width, 3] in -1..127/128."""
        if self._drawn[0] != view:
            drawn = view_draws(self.config, self._seed, view, len(self._images), self._height, self._width)
            self._drawn = (view, drawn)
        draws = {name: values[rows] for name, values in self._drawn[1].items()}
        photos = np.ascontiguousarray(self._images[rows])
        return np.asarray(self._model.predict_on_batch({"photos": photos, **draws}), np.float32)
