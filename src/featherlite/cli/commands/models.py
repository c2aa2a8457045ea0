"""lists the backbones with their facts: source, licence, input, size"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from featherlite.models.backbones import Card


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows the backbones' cards, or all of one card; returns the exit code."""
    from featherlite.models.backbones import backbones, card_of

    made = parser("featherlite models", "List the backbones, or show all that is known of one.")
    made.add_argument("name", metavar="NAME", nargs="?", help="a backbone")
    name = made.parse_args(argv).name
    if name is None:
        cards = sorted(backbones().values(), key=lambda card: card.name.casefold())
        terminal.show(_table(cards))
    else:
        cards = [card_of(name)]
        terminal.show(cards[0].name, _facts(cards[0]))
    terminal.finish({"models": [dataclasses.asdict(card) for card in cards]})
    return 0


def _table(cards: list[Card]) -> Table:
    """One row a backbone."""
    from rich.table import Table

    from featherlite.report.units import count_text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("backbone", "input px", "takes px", "parameters", "MACs", "weights from", "their licence"):
        table.add_column(heading, justify="right" if heading in ("input px", "parameters", "MACs") else "left")
    for card in cards:
        origins = {"Keras": card.weights_licence, "torch": card.torch_licence}
        found = [origin for origin, licence in origins.items() if licence]
        table.add_row(
            card.name,
            str(card.input_px),
            f"{card.min_px} to {card.max_px}",
            count_text(card.parameters),
            count_text(card.macs),
            ", ".join(found) or "from scratch",
            ", ".join(dict.fromkeys(origins[origin] for origin in found)) or "-",
        )
    return table


def _facts(card: Card) -> Table:
    """All of one card, a fact a row."""
    from rich.table import Table

    facts = {
        "what": card.summary,
        "paper": card.paper,
        "built by": card.constructor,
        "input": f"{card.input_px} px; takes {card.min_px} to {card.max_px} px",
        "parameters": f"{card.parameters:,}, without head",
        "MACs": f"{card.macs:,} for one photo of {card.input_px} px, without head",
        "options": ", ".join(card.options),
        "imagenet": f"{card.source} ({card.weights_licence})" if card.source else "none to download",
        "its widths": ", ".join(f"{width:g}" for width in card.imagenet_widths) if "width" in card.options else "",
        "safetensors": f"{card.torch_source} ({card.torch_licence})" if card.torch_source else "",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for fact, value in facts.items():
        if value:
            table.add_row(fact, value)
    return table
