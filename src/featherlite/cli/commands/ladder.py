"""shows what a run did, step by step, as a table"""

from __future__ import annotations

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows a run's or bundle's ladder; returns the exit code."""
    from featherlite.bundle import Bundle
    from featherlite.reference import read_reference
    from featherlite.report.beside import beside_document, beside_table
    from featherlite.report.ladder import ladder_rows, ladder_table

    made = parser("featherlite ladder", "Show what a run did, step by step.")
    made.add_argument("out", metavar="OUT", help="a run's folder or a bundle")
    bundle = Bundle.open(made.parse_args(argv).out)
    rows = ladder_rows(bundle.history, bundle.read_json("verify.json") if "verify.json" in bundle else None)
    terminal.show(ladder_table(rows))
    reference = read_reference(bundle.home.parent) if bundle.home is not None else None
    if reference is not None:
        terminal.show("", beside_table(rows, reference))
    terminal.finish({"rows": rows} | beside_document(rows, reference))
    return 0
