"""In which order blocks go, by figures given by hand; that they are measured is seen in test_remove_blocks.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from featherlite.models.surgery.blocks import residual_blocks
from featherlite.shrink.harm import Harm, in_order

from .cutting import three_blocks


def test_the_orders_by_hand() -> None:
    blocks = residual_blocks(three_blocks())  # 72, 256 and 64 parameters; 10,368, 9,216 and 2,304 MACs
    harms = [
        Harm(block, loss, 0.0, arena) for block, loss, arena in zip(blocks, (0.1, 0.3, 0.09), (9, 0, 0), strict=True)
    ]

    def ordered(order: Any, cost: Any = "parameters") -> str:
        return "".join(harm.block.sum[0] for harm in in_order(harms, order, cost))

    assert ordered("harm") == "cab"
    assert ordered("cost") == "bac"
    assert ordered("cost", "macs") == "abc"
    assert ordered("harm_per_cost") == "bac"
    assert ordered("harm_per_cost", "macs") == "abc"
    assert ordered("harm_per_cost", "arena") == "acb", "what saves nothing comes last, the least harm first"
    harms = [replace(harm, arena=0) for harm in harms]
    assert ordered("harm_per_cost", "arena") == "cab", "where nothing saves any, harm alone decides"
    assert ordered("end_first") == "cba"
    good = [Harm(block, -0.5, 0.0, 0) for block in blocks]
    assert in_order(good, "harm_per_cost", "parameters")[0].block.sum == "b_sum", (
        "where nothing is lost the dearest goes"
    )
