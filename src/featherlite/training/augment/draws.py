"""The draws of one batch: everything that happens to its photos, as a few small arrays by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlite.training.augment.blend import choose_one, draw_cut, draw_share
from featherlite.training.augment.color import draw_color, followed_by
from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.erase import draw_box
from featherlite.training.augment.geometry import after, draw_affine, draw_tilt
from featherlite.training.augment.numbers import Drawn, Numbers
from featherlite.training.augment.randaugment import draw_changes
from featherlite.training.augment.weather import draw_weather

__all__ = ["SHAPES", "draw", "draw_batch", "names_of"]

SHAPES: dict[str, tuple[int, ...]] = {
    "affine": (8,),
    "color": (3, 4),
    "points": (4,),
    "weather": (8,),
    "box": (4,),
    "cut": (4,),
    "share": (),
}
"""Shape of each draw, for one photo.

`affine`: where output pixel (x, y) is taken from, x' = (a0 x + a1 y + a2) / (a6 x + a7 y + 1), y' with a3, a4, a5.
`color`: on network inputs in -1..1, new = color[:, :3] @ rgb + color[:, 3]. `points`: see `randaugment.py`. `weather`:
uniform numbers, see `weather`. `box`: left, top, right, bottom in pixels of the greyed rectangle. `cut`: the same of
the one that comes from the partner. `share`: the photo's own share where it is blended with its partner.
"""


def names_of(config: AugmentConfig) -> tuple[str, ...]:
    """The draws that this config needs, in the order in which they are done."""
    strength = config.augment
    wanted = {
        "affine": True,
        "color": True,
        "points": config.randaugment > 0,
        "weather": config.weather > 0,
        "box": config.erase > 0,
        "cut": config.cutmix > 0,
        "share": config.mixup > 0,
    }
    return tuple(name for name, on in wanted.items() if on and (strength > 0 or name in ("affine", "color")))


def draw(
    config: AugmentConfig, rng: np.random.Generator, count: int, height: int, width: int
) -> dict[str, NDArray[np.float32]]:
    """Draws for `count` photos of height x width, by name; the same generator state gives the same draws."""
    drawn = draw_batch(config, Drawn(rng), count, height, width)
    return {name: drawn[name].astype(np.float32) for name in names_of(config)}


def draw_batch(config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int) -> dict[str, Any]:
    """As `draw`, from any source of numbers, in its own type.

    What was there first is drawn first, used or not: a new augmentation changes nothing of the others' draws.
    """
    wanted = names_of(config)
    drawn: dict[str, Any] = {
        "affine": draw_affine(config, numbers, count, height, width),
        "color": draw_color(config, numbers, count),
        "box": draw_box(config, numbers, count, height, width),
    }
    if "share" in wanted:
        drawn["share"] = draw_share(config, numbers, count)
    if "points" in wanted:
        _add_changes(drawn, config, numbers, count, height, width)
    if config.perspective * config.augment > 0:
        tilt = draw_tilt(config, numbers, count, height, width)
        drawn["affine"] = after(numbers, drawn["affine"], tilt)
    if "cut" in wanted:
        drawn["cut"] = draw_cut(config, numbers, count, height, width)
        if "share" in wanted:
            drawn["share"], drawn["cut"] = choose_one(numbers, drawn["share"], drawn["cut"], count)
    if "weather" in wanted:
        drawn["weather"] = draw_weather(numbers, count)
    return drawn


def _add_changes(
    drawn: dict[str, Any], config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int
) -> None:
    """Joins RandAugment's geometry and color to what was drawn, and adds its point changes."""
    geometry, color, drawn["points"] = draw_changes(config, numbers, count, height, width)
    drawn["affine"] = after(numbers, drawn["affine"], geometry)
    drawn["color"] = followed_by(numbers, drawn["color"], color)
