"""featherlite's augmentation as Keras layers for any pipeline, seeded; they draw by the same code as training.

    augment = RandomAugment(seed=1, rotate_deg=30, zoom=0.2, perspective=0.2, randaugment=2)
    weather = RandomWeather(seed=2, share=0.3, kinds=("fog", "rain"))
    blend = RandomBlend(seed=3, mixup=0.2, cutmix=1.0)

Photos are float or uint8 [n, h, w, 3] with values in `value_range`; float32 in that range comes out. Without
`training=True` (which `fit` passes) nothing changes. In featherlite's own training the draws come from the batch's
number and the run's seed instead, so that a batch can be drawn again: see `featherlite.training.augment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from pydantic import ValidationError

from featherlite.errors import RequestError
from featherlite.training.augment.blend import blend, kept_share
from featherlite.training.augment.config import ALL_OFF, WEATHER, AugmentConfig
from featherlite.training.augment.draws import draw_batch
from featherlite.training.augment.layer import augmented
from featherlite.training.augment.numbers import InGraph

__all__ = ["RandomAugment", "RandomBlend", "RandomWeather"]

BLENDS = ("mixup", "cutmix")


class _Drawing(keras.layers.Layer):  # type: ignore[misc]
    """Base: a config in which all that is not asked for is off, and a seed."""

    def __init__(self, seed: int, value_range: Sequence[float], asked: dict[str, Any], **options: Any) -> None:
        super().__init__(**({"trainable": False, "dtype": "float32"} | options))
        try:
            self.config = AugmentConfig.model_validate(ALL_OFF | asked)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "options"
            raise RequestError(f"{type(self).__name__}: {name}: {first['msg']}.") from None
        low, high = (float(value) for value in value_range)
        if not low < high:
            raise RequestError(f"value_range is {low:g}..{high:g}; the first must be the smaller one.")
        self.seed, self.value_range, self.asked = seed, (low, high), asked
        self.seeds = keras.random.SeedGenerator(seed)

    def _drawn(self, photos: Any) -> dict[str, Any]:
        count = photos.shape[0] if photos.shape[0] is not None else ops.shape(photos)[0]
        return draw_batch(self.config, InGraph(self.seeds), count, photos.shape[1], photos.shape[2])

    def _to_network(self, photos: Any) -> Any:
        """Values as the network's input, where 255 of 256 levels lie at 127/128."""
        low, high = self.value_range
        return (ops.cast(photos, "float32") - low) * (255.0 / 128.0 / (high - low)) - 1.0

    def _from_network(self, photos: Any) -> Any:
        low, high = self.value_range
        return (photos + 1.0) * (128.0 / 255.0 * (high - low)) + low

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG002
        """The same shapes in float32."""
        return keras.tree.map_structure(lambda one: keras.KerasTensor(one.shape, dtype="float32"), inputs)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made again from."""
        config: dict[str, Any] = super().get_config()
        return config | {"seed": self.seed, "value_range": self.value_range} | self._options()

    def _options(self) -> dict[str, Any]:
        return dict(self.asked)


@keras.saving.register_keras_serializable("featherlite")
class RandomAugment(_Drawing):
    """Photos changed by whatever keys of `AugmentConfig` are given; all others are off. MixUp and CutMix: RandomBlend.

    Raises:
        RequestError: an option is unknown or out of its range.
    """

    def __init__(self, seed: int = 0, value_range: Sequence[float] = (0.0, 255.0), **options: Any) -> None:
        asked = {name: options.pop(name) for name in [*options] if name in AugmentConfig.model_fields}
        if mixing := [name for name in BLENDS if asked.get(name)]:
            raise RequestError(f"RandomAugment: {mixing[0]} mixes labels too.", "Take the layer RandomBlend for it.")
        super().__init__(seed, value_range, asked, **options)

    def call(self, photos: Any, training: bool | None = None) -> Any:
        """Photos [n, h, w, 3] in the value range, changed: float32 of the same shape."""
        if not training:
            return ops.cast(photos, "float32")
        return self._from_network(augmented(self._to_network(photos), self._drawn(photos), self.config))


@keras.saving.register_keras_serializable("featherlite")
class RandomWeather(RandomAugment):
    """About `share` of the photos under one drawn kind of weather or camera fault each, of any strength.

    Raises:
        RequestError: a kind is unknown, or the share lies outside 0..1.
    """

    def __init__(
        self,
        share: float = 0.3,
        kinds: Sequence[str] = WEATHER,
        seed: int = 0,
        value_range: Sequence[float] = (0.0, 255.0),
        **options: Any,
    ) -> None:
        super().__init__(seed, value_range, weather=share, weather_kinds=tuple(kinds), **options)

    def _options(self) -> dict[str, Any]:
        return {"share": self.asked["weather"], "kinds": list(self.asked["weather_kinds"])}


@keras.saving.register_keras_serializable("featherlite")
class RandomBlend(_Drawing):
    """Pairs of photos in one, by MixUp or CutMix or by one of the two, with their labels.

    Takes and gives {"images": [n, h, w, 3], "labels": [n, classes]}.

    Raises:
        RequestError: mixup or cutmix lies outside 0..4.
    """

    def __init__(
        self,
        mixup: float = 0.2,
        cutmix: float = 0.0,
        seed: int = 0,
        value_range: Sequence[float] = (0.0, 255.0),
        **options: Any,
    ) -> None:
        super().__init__(seed, value_range, {"mixup": mixup, "cutmix": cutmix}, **options)

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Both in float32, mixed with their partners: the batch in reverse order."""
        photos, labels = (ops.cast(inputs[name], "float32") for name in ("images", "labels"))
        if not training:
            return {"images": photos, "labels": labels}
        draws = self._drawn(photos)
        kept = kept_share(draws, photos.shape[1], photos.shape[2])
        if kept is not None:
            photos = blend(photos, draws.get("share"), draws.get("cut"))
            labels = kept[:, None] * labels + (1.0 - kept[:, None]) * ops.flip(labels, axis=0)
        return {"images": photos, "labels": labels}
