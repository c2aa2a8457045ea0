"""A network with a shorter or narrower end: cut at an earlier block, its last convolution left with fewer filters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from featherlite.bundle import Bundle
from featherlite.errors import RequestError
from featherlite.shrink.milestones import Reached, reach
from featherlite.shrink.recovery import RecoveryConfig, Ward
from featherlite.step import Context, step

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CutTailConfig", "cut_tail"]

EIGHT = 8
"""Kernels of devices work in eights."""


class CutTailConfig(RecoveryConfig):
    """Where the network ends, and how wide."""

    after: str = Field("", description="layer behind which the network is cut; empty: see `blocks`")
    blocks: int = Field(
        0, ge=0, le=1000, description="blocks to cut off the end one by one, as far as accuracy bears it"
    )
    keep_top: bool = Field(
        True, description="keep the last convolution before the head behind the cut; else the head follows it directly"
    )
    filters: int = Field(
        0,
        ge=0,
        description="filters that the last convolution keeps; 0: half of them, or all where a cut is asked for",
    )
    rounds: int = Field(
        1, ge=1, le=100, description="rounds in which it comes down to these, with a recovery after each"
    )
    by: Literal["contribution", "magnitude"] = Field(
        "contribution",
        description="which filters stay: those that vary most from photo to photo and are most listened to, or those "
        "with the largest weights",
    )
    photos: int = Field(
        512, ge=1, description="photos of the train split by which filters are judged and layers fitted to what is left"
    )

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> CutTailConfig:
        if self.after and self.blocks:
            raise ValueError("after and blocks both say where to cut: give one of them")
        cuts = bool(self.after or self.blocks)
        if not cuts and not self.keep_top:
            raise ValueError("keep_top does nothing without a cut: give after or blocks")
        if cuts and not self.filters and (self.rounds != 1 or self.by != "contribution"):
            raise ValueError("rounds and by do nothing where no filters go: give filters")
        return self


@step(needs=("splits", "network", "preprocess"), provides=("network",))
def cut_tail(bundle: Bundle, config: CutTailConfig, ctx: Context) -> Bundle:
    """The bundle with a network of a smaller tail, the last one that was good enough."""
    from featherlite.models.network import count_parameters, load_network, network_bytes

    network = load_network(bundle)
    cuts = _cuts(network, config)
    if config.filters or not cuts:
        _widths(_behind(network, cuts, config), config)  # refuses what cannot be narrowed before anything is trained
    surgery = _Surgery(Ward.open(bundle, config, ctx), config, ctx, network)
    surgery.run(cuts)
    ctx.record(
        "cut_tail",
        {
            "reference": surgery.reference,
            "parameters": [count_parameters(network), count_parameters(surgery.network)],
            "done": surgery.done,
            "given_back": surgery.given_back,
        },
    )
    if not surgery.done:
        ctx.warn(f"The tail stays as it was: {surgery.given_back[-1]['why']}.")
        return bundle
    return bundle.with_network(network_bytes(surgery.network))


class _Surgery:
    """The cuts, then the narrowing, until all is done or accuracy breaks."""

    def __init__(self, ward: Ward, config: CutTailConfig, ctx: Context, network: keras.Model) -> None:
        import numpy as np

        from featherlite.shrink.chosen import drawn

        self.ward, self.config, self.ctx, self.network = ward, config, ctx, network
        self.reference = ward.top1(network)
        self.done: list[dict[str, Any]] = []
        self.given_back: list[dict[str, Any]] = []
        rows = drawn(len(ward.train.labels), config.photos, ctx.seed, "fit layers to")
        self.images: NDArray[np.uint8] = np.asarray(ward.train.images[rows])

    def run(self, cuts: tuple[str, ...]) -> None:
        """Cuts at these points in turn, then narrows; what breaks accuracy is given back, and ends it."""
        for after in cuts:
            if not self._holds(f"cut-{len(self.done) + 1}", partial(self._cut, self.network, after)):
                return
        for filters in _widths(self.network, self.config) if self.config.filters or not cuts else ():
            if not self._holds(f"narrow-{len(self.done) + 1}", partial(self._narrow, self.network, filters)):
                return

    def _holds(self, name: str, make: Any) -> bool:
        made = reach(self.ctx, name, make)
        why = self.ward.lost(made.facts["top1"], self.reference)
        if why:
            self.given_back.append(made.facts | {"why": why})
            self.ctx.warn(f"{made.facts['what']} was given back: {why}. The last good network stands.")
            return False
        self.network = made.network
        self.done.append(made.facts)
        return True

    def _cut(self, network: keras.Model, after: str, ctx: Context) -> Reached:
        from featherlite.models.surgery.tail import cut_behind

        changed = cut_behind(network, after, keep_top=self.config.keep_top)
        return self._healed(network, changed, f"the cut behind '{after}'", ctx)

    def _narrow(self, network: keras.Model, filters: int, ctx: Context) -> Reached:
        import numpy as np

        from featherlite.models.surgery.tail import filter_worth, with_filters

        worth = filter_worth(network, self.images, self.config.by)
        kept = np.sort(np.argsort(-worth, kind="stable")[:filters])
        return self._healed(network, with_filters(network, kept), f"the narrowing to {filters} filters", ctx)

    def _healed(self, former: keras.Model, changed: keras.Model, what: str, ctx: Context) -> Reached:
        """The changed network, its layers beside the change fitted to the former answers, after its recovery."""
        from featherlite.models.surgery.blocks import touched
        from featherlite.models.surgery.refit import refit
        from featherlite.models.surgery.tail import reshaped

        names = reshaped(former, changed)
        fitted = _same_outputs(former, changed, names)
        refit(former, changed, fitted, self.images, ctx.seed)
        facts = {"what": what, "fitted": sorted(fitted), "top1_fitted": self.ward.top1(changed)}
        healed = self.ward.recover(changed, names | touched(former, changed), ctx, "heal")
        return Reached(healed.network, facts | {"top1": healed.facts["top1"]})


def _same_outputs(former: keras.Model, changed: keras.Model, names: set[str]) -> set[str]:
    """Those layers whose answers have as many channels as before: the ones that lost inputs alone."""
    return {
        name for name in names if former.get_layer(name).output.shape[-1] == changed.get_layer(name).output.shape[-1]
    }


def _cuts(network: keras.Model, config: CutTailConfig) -> tuple[str, ...]:
    """Where to cut, the point nearest to the end first.

    Raises:
        RequestError: the network cannot be cut there, or has fewer blocks.
    """
    from featherlite.models.surgery.tail import block_ends, tail_of

    tail = tail_of(network)
    if config.after:
        if config.after not in tail.cuts:
            raise RequestError(
                f"'{network.name}' cannot be cut behind '{config.after}'.", f"It can behind: {', '.join(tail.cuts)}."
            )
        return (config.after,)
    ends = block_ends(network, tail)
    if config.blocks > len(ends):
        raise RequestError(
            f"blocks is {config.blocks}, and '{network.name}' has {len(ends)} that can be cut off its end.",
            f"Take at most {len(ends)}.",
        )
    return ends[::-1][: config.blocks]


def _behind(network: keras.Model, cuts: tuple[str, ...], config: CutTailConfig) -> keras.Model:
    """The network after its cuts, untrained: what is to be narrowed."""
    from featherlite.models.surgery.tail import cut_behind

    for after in cuts:
        network = cut_behind(network, after, keep_top=config.keep_top)
    return network


def _widths(network: keras.Model, config: CutTailConfig) -> tuple[int, ...]:
    """The number of filters after each round of narrowing: evenly down in proportion, in eights but for the last.

    Raises:
        RequestError: there is no last convolution, or it has no more filters than are to stay.
    """
    from featherlite.models.surgery.tail import tail_of

    top = tail_of(network).top
    if not top:
        raise RequestError(
            f"'{network.name}' has no convolution of its own before its head: its map comes out of a sum.",
            "Leave filters out, and give after or blocks; prune_channels narrows what sums tie together.",
        )
    there = int(network.get_layer(top).filters)
    wanted = config.filters or max(EIGHT, there // 2 // EIGHT * EIGHT)
    if wanted >= there:
        raise RequestError(
            f"'{top}' has {there} filters, and {wanted} are to stay.", f"Give a number below {there} as filters."
        )
    steps = [there * (wanted / there) ** (number / config.rounds) for number in range(1, config.rounds)]
    eights = [max(wanted, round(step / EIGHT) * EIGHT) for step in steps]
    falling = [width for place, width in enumerate(eights) if wanted < width < min([there, *eights[:place]])]
    return (*falling, wanted)
