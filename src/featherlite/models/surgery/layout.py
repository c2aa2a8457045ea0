"""What lies along the last axis of each tensor, and which blocks of channels are tied together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["Flow", "Layout"]


@dataclass(frozen=True)
class Layout:
    """What lies along the last axis of a tensor: the channels of these groups in turn, all of it `tiles` times.

    `unit`: the values were brought to length 1 over the axis.
    """

    groups: tuple[str, ...]
    tiles: int = 1
    unit: bool = False

    def size(self, widths: Mapping[str, int]) -> int:
        """The length of the axis where the groups have these widths."""
        return self.tiles * sum(widths[group] for group in self.groups)


class Flow:
    """What one pass along a graph finds out. A block of channels is named after what made it.

    `protected` says why a block cannot change, `kernels` are the layers that mix channels, in the graph's order,
    `inputs` and `outputs` what goes into a layer and comes out, `even` the layers that normalize over all channels.
    """

    def __init__(self) -> None:
        self.widths: dict[str, int] = {}
        self.protected: dict[str, str] = {}
        self.kernels: list[str] = []
        self.inputs: dict[str, Layout] = {}
        self.outputs: dict[str, Layout] = {}
        self.even: list[tuple[str, Layout]] = []
        self.unit_products: set[str] = set()
        self.unit_sums: set[str] = set()
        self._parents: dict[str, str] = {}

    def root(self, block: str) -> str:
        """The block that speaks for all that are tied to this one: the first of them in the graph."""
        while self._parents[block] != block:
            block = self._parents[block]
        return block

    def roots(self) -> list[str]:
        """The blocks that speak for a group, in the graph's order."""
        return [block for block, parent in self._parents.items() if parent == block]

    def tied(self, layout: Layout) -> Layout:
        """The layout by the blocks that speak for its own."""
        return replace(layout, groups=tuple(self.root(block) for block in layout.groups))

    def size(self, layout: Layout) -> int:
        """The length of the axis."""
        return layout.size(self.widths)

    def block(self, name: str, width: int, protected: str = "") -> Layout:
        """A new block of channels."""
        self.widths[name] = width
        self._parents[name] = name
        if protected:
            self.protected[name] = protected
        return Layout((name,))

    def protect(self, layout: Layout, reason: str) -> None:
        """No group of the layout may change, for a reason; the first one stands."""
        for block in layout.groups:
            self.protected.setdefault(self.root(block), reason)

    def tie(self, first: Layout, second: Layout, where: str) -> None:
        """Channel i of the one can only change with channel i of the other."""
        alike = [self.widths[one] for one in first.groups] == [self.widths[one] for one in second.groups]
        if not alike or (first.tiles, first.unit) != (second.tiles, second.unit):
            for layout in (first, second):
                self.protect(layout, f"'{where}' ties them to channels that are laid out otherwise")
            return
        order = list(self._parents)
        for one, other in zip(first.groups, second.groups, strict=True):
            early, late = sorted((self.root(one), self.root(other)), key=order.index)
            if early != late:
                self._parents[late] = early
                if reason := self.protected.pop(late, ""):
                    self.protected.setdefault(early, reason)
