"""lists the backbones with their facts: source, licence, input, size"""

from __future__ import annotations

import dataclasses

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows the backbones' cards; returns the exit code."""
    from rich.table import Table

    from featherlite.models.backbones import backbones

    parser("featherlite models", "List the backbones.").parse_args(argv)
    table = Table("backbone", "input", "weights from", "their licence", box=None, header_style="bold", pad_edge=False)
    cards = sorted(backbones().values(), key=lambda card: card.name.casefold())
    for card in cards:
        table.add_row(card.name, f"{card.input_px} px", card.source or "from scratch", card.weights_licence or "-")
    terminal.show(table)
    terminal.finish({"models": [dataclasses.asdict(card) for card in cards]})
    return 0
