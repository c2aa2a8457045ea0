"""Things joined in pairs, and what hangs together through them."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Union"]

Node = TypeVar("Node", int, str)


class Union(Generic[Node]):
    """Disjoint sets, each known by its smallest member; nodes are there as soon as they are asked about."""

    def __init__(self) -> None:
        self._parent: dict[Node, Node] = {}

    def root(self, node: Node) -> Node:
        """The smallest node that hangs together with this one."""
        parent = self._parent
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, one: Node, other: Node) -> None:
        """Makes the sets of the two one."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low
