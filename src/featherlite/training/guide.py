"""What a fit may be taught beside its labels: a teacher's word on every photo, in the view that the network sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featherlite.errors import RequestError

if TYPE_CHECKING:
    import keras

    from featherlite.training.augment.config import AugmentConfig
    from featherlite.training.config import FitConfig

__all__ = ["LOGITS", "Guide", "Guided", "check_guide", "guided_by", "view_draws", "view_of"]

LOGITS = "logits"
"""Name of the output that the labels judge."""
VIEWS = 5
"""The stream of random numbers that fixed views are drawn from."""


class Guide(Protocol):
    """What a fit is taught beside the labels."""

    @property
    def views(self) -> int:
        """0: a new draw every epoch, and targets are of the plain photos. V > 0: V fixed draws, shown in turn."""

    @property
    def identity(self) -> str:
        """Hash of all that the targets depend on; part of the fit's fingerprint."""

    def model(self, network: keras.Model) -> keras.Model:
        """float32 photos -> {"logits": [n, classes], NAME: ...}, grown from the network's own graph.

        That is: keras.Model(network.input, {"logits": network.output, NAME: some tensor of it or behind it}). Layers
        that it adds (projections) train and are checkpointed with the rest. Called once a fit.
        """

    def losses(self) -> Mapping[str, tuple[keras.losses.Loss, float]]:
        """Loss and weight of every output but the labels'; under "logits" only the weight counts (1 where absent)."""

    def targets(self, rows: NDArray[np.int64], view: int) -> Mapping[str, NDArray[Any]]:
        """For every output in `losses` but "logits": what is wanted for those photos of the train set in that view.

        Called from another thread than the fit's; `view` is 0 where `views` is 0.
        """


@dataclass(frozen=True)
class Guided:
    """A guide at work on one network."""

    guide: Guide
    model: keras.Model
    extras: list[Any] = field(default_factory=list)
    """Weights of the model that are not the network's own."""


def guided_by(guide: Guide, network: keras.Model) -> Guided:
    """The guide's model of the network, checked.

    Raises:
        RequestError: its outputs and losses do not name the same things.
    """
    model, losses = guide.model(network), guide.losses()
    outputs = model.output
    named = set(outputs) if isinstance(outputs, dict) else set()
    if named != {LOGITS, *losses}:
        raise RequestError(
            f"The guide's network answers {sorted(named) or 'without names'}; its losses are for {sorted(losses)}.",
            f"Name '{LOGITS}' and every output that has a loss, and no other.",
        )
    own = {id(weight) for weight in network.weights}
    return Guided(guide, model, [weight for weight in model.weights if id(weight) not in own])


def check_guide(config: FitConfig) -> None:
    """Nothing, where a guide's word stays true under this config.

    Raises:
        RequestError: photos are mixed in pairs, of which it knows nothing.
    """
    if config.augment > 0 and (config.mixup > 0 or config.cutmix > 0):
        raise RequestError(
            "mixup and cutmix blend pairs that change each epoch, while a teacher speaks of single photos.",
            "Set mixup = 0 and cutmix = 0.",
        )


def view_of(guide: Guide, epoch: int) -> int:
    """The view that an epoch (from 1) shows: all in turn."""
    return (epoch - 1) % guide.views if guide.views else 0


def view_draws(
    config: AugmentConfig, seed: int, view: int, count: int, height: int, width: int
) -> dict[str, NDArray[np.float32]]:
    """The draws of one fixed view for all `count` photos, by name: the same cuts at whatever size they are seen."""
    from featherlite.training.augment.draws import draw

    return draw(config, np.random.default_rng([seed, view, 0, VIEWS]), count, height, width)
