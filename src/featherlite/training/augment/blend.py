"""Two photos in one, with their labels: MixUp blends them, CutMix pastes a rectangle of the one into the other.

A photo's partner is its mirror image in the batch, the batch in reverse order.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from featherlite.training.augment.config import AugmentConfig
from featherlite.training.augment.erase import inside
from featherlite.training.augment.numbers import Numbers

__all__ = ["blend", "choose_one", "draw_cut", "draw_share", "kept_share"]


def draw_share(config: AugmentConfig, numbers: Numbers, count: Any) -> Any:
    """A photo's own share [n] from Beta(alpha, alpha), mirrored to 0.5..1 so that the photo itself leads.

    Source: H. Zhang et al., "mixup: Beyond Empirical Risk Minimization" (arXiv:1710.09412), equation 2.
    """
    drawn = numbers.beta(config.mixup * config.augment, count)
    return numbers.xp.maximum(drawn, 1 - drawn)


def draw_cut(config: AugmentConfig, numbers: Numbers, count: Any, height: int, width: int) -> Any:
    """Rectangles [n, 4] in whole pixels (left, top, right, bottom), cut to the photo, that come from the partner.

    Source: S. Yun et al., "CutMix" (arXiv:1905.04899), equations 1 and 2: the sides are sqrt(1 - share) of the photo's,
    share from Beta(alpha, alpha), about a center anywhere in the photo.
    """
    xp = numbers.xp
    side = xp.sqrt(1 - numbers.beta(config.cutmix * config.augment, count)) / 2
    x, y = numbers.random(count) * width, numbers.random(count) * height
    edges = [
        xp.clip(xp.round(x - side * width), 0, width),
        xp.clip(xp.round(y - side * height), 0, height),
        xp.clip(xp.round(x + side * width), 0, width),
        xp.clip(xp.round(y + side * height), 0, height),
    ]
    return xp.stack(edges, axis=1)


def choose_one(numbers: Numbers, share: Any, box: Any, count: Any) -> tuple[Any, Any]:
    """Share [n] and box [n, 4] of which each photo has one: half of them are blended, the others pasted into."""
    xp = numbers.xp
    blended = numbers.random(count) < 0.5
    return xp.where(blended, share, xp.ones_like(share)), xp.where(blended[:, None], xp.zeros_like(box), box)


def blend(photos: Any, share: Any | None, box: Any | None) -> Any:
    """Photos float32 [n, h, w, 3] blended with their partners by their own share [n], or pasted into in a box [n, 4].

    Both take from the partner as it came, not from what it becomes itself.
    """
    partners, height, width = ops.flip(photos, axis=0), photos.shape[1], photos.shape[2]
    if share is not None:
        own = share[:, None, None, None]
        photos = own * photos + (1.0 - own) * partners
    return photos if box is None else ops.where(inside(box, height, width) > 0.0, partners, photos)


def kept_share(draws: dict[str, Any], height: int, width: int) -> Any:
    """The share [n] of the label that stays the photo's own; None where nothing was mixed."""
    share, box = draws.get("share"), draws.get("cut")
    if box is None:
        return share
    kept = 1 - (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / (height * width)
    return kept if share is None else share * kept
