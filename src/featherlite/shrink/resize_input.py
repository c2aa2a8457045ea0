"""A network on smaller (or larger) photos, size by size, its BatchNorm statistics renewed and its weights fine-tuned.

A network's weights do not depend on the size of the photo, but what its layers see does: objects are smaller, edges
reach farther in. Statistics taken at one size are wrong at another, and a few epochs at each make up for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.preprocess import Preprocess
from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras

__all__ = ["ResizeInputConfig", "resize_input"]

MIN_PX = 16
"""The smallest photo that the preprocessing contract knows."""

Px = Annotated[int, Field(ge=MIN_PX, le=1024)]


class ResizeInputConfig(RecoveryConfig):
    """To which sizes, and how the network is trained at each."""

    sizes: tuple[Px, ...] = ()
    """Longer sides of the photo in pixels, one after the other, down or up; empty: one step down, to at most seven
    eighths of the present size, in a multiple of 8."""
    renew_batchnorm: bool = True
    """Estimate BatchNorm's statistics anew from photos of the new size before any training there."""
    max_drop: float = Field(
        0.1,
        ge=0,
        le=1,
        description="validation top-1 that may be lost against the network that came, at its own size; beyond it the "
        "last good size is returned",
    )

    idle: ClassVar[Mapping[str, str]] = {
        **RecoveryConfig.idle,
        "stages": "another size touches all layers alike",
        **dict.fromkeys(("progressive", "progressive_augment"), "sizes says at which sizes the network is trained"),
    }


@step(needs=("splits", "network", "preprocess"), provides=("network", "preprocess"))
def resize_input(bundle: Bundle, config: ResizeInputConfig, ctx: Context) -> Bundle:
    """The bundle with its network on photos of the last size that kept its accuracy; preprocess.json follows.

    Raises:
        RequestError: a layer cannot take one of the sizes; the smallest that works is named.
    """
    from featherlite.models.network import load_network, network_bytes

    network = load_network(bundle)
    sizes = config.sizes or _step_down(max(network.input_shape[1:3]), ctx)
    contracts = [_contract(bundle.preprocess, px) for px in sizes]
    _check(network, contracts)
    reference = Ward.open(bundle, config, ctx).top1(network)
    good, contract, rows = network, bundle.preprocess, list[dict[str, Any]]()
    for number, at_size in enumerate(contracts, start=1):
        if (at_size.height, at_size.width) == tuple(good.input_shape[1:3]):
            continue
        ward = Ward.open(bundle, config, ctx, at_size)
        reached = reach(ctx, f"size-{number}", partial(_moved, good, ward, at_size, config.renew_batchnorm))
        top1, px = reached.facts["top1"], max(at_size.height, at_size.width)
        why = ward.lost(top1, reference)
        rows.append({"px": px, **reached.facts, "kept": not why})
        if why:
            ctx.warn(f"At {px} px {why}: the network of {max(good.input_shape[1:3])} px is returned.")
            break
        good, contract = reached.network, at_size
    own = max(network.input_shape[1:3])
    ctx.record("resize_input", {"from_px": own, "top1": reference, "sizes": rows})
    if not rows:
        ctx.warn(f"The network takes photos of {own} px already: it is returned as it came.")
    if good is network:
        return bundle
    return bundle.with_network(network_bytes(good)).with_json("preprocess.json", contract.model_dump())


def _moved(network: keras.Model, ward: Ward, contract: Preprocess, renew: bool, ctx: Context) -> Reached:
    """The network at the contract's size, with statistics of that size, fine-tuned; facts tell what each brought."""
    from featherlite.models.surgery.input_size import resized
    from featherlite.training.phases import reseed

    moved = resized(network, contract.height, contract.width)
    reseed(moved, ctx.seed, 0)
    facts: dict[str, Any] = {"as_it_came": ward.top1(moved)}
    if renew:
        facts["renewed"] = ward.renew(moved, ctx)
    reached = ward.recover(moved, (), ctx, "tune")
    return Reached(reached.network, facts | {"top1": reached.facts["top1"]})


def _step_down(px: int, ctx: Context) -> tuple[int, ...]:
    """One size below, where there is one."""
    below = px * 7 // 8 // 8 * 8
    if below < MIN_PX:
        ctx.warn(f"There is no size in multiples of 8 between {MIN_PX} and seven eighths of {px} px.")
        return ()
    return (below,)


def _contract(former: Preprocess, px: int) -> Preprocess:
    """The contract at another size, in the same proportion.

    Raises:
        RequestError: that makes the shorter side too short.
    """
    longer = max(former.height, former.width)
    sides = {"height": round(former.height * px / longer), "width": round(former.width * px / longer)}
    if min(sides.values()) < MIN_PX:
        shape, least = (
            f"{sides['height']}x{sides['width']}",
            math.ceil(MIN_PX * longer / min(former.height, former.width)),
        )
        raise RequestError(
            f"{px} px means photos of {shape}, as the network takes them in {former.height}x{former.width}; "
            f"a side has {MIN_PX} px or more.",
            f"Ask for {least} px or more.",
        )
    return Preprocess.model_validate(former.model_dump() | sides)


def _check(network: keras.Model, contracts: list[Preprocess]) -> None:
    """Nothing, where the network holds together at all sizes: before anything is trained."""
    from featherlite.models.surgery.input_size import resized, smallest_size

    for contract in contracts:
        try:
            resized(network, contract.height, contract.width)
        except RequestError as error:
            if max(contract.height, contract.width) > max(network.input_shape[1:3]):
                hint = "A layer is bound to the size that the network was built for: it cannot go up."
            else:
                hint = f"The smallest size that works is {smallest_size(network, MIN_PX)} px."
            raise RequestError(error.message, hint) from error
