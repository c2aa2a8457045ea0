"""shows what a run did, step by step, as a table"""

from __future__ import annotations

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows a run's or bundle's ladder; returns the exit code."""
    from featherlite.bundle import Bundle
    from featherlite.report.ladder import ladder_rows, ladder_table

    made = parser("featherlite ladder", "Show what a run did, step by step.")
    made.add_argument("out", metavar="OUT", help="a run's folder or a bundle")
    bundle = Bundle.open(made.parse_args(argv).out)
    rows = ladder_rows(bundle.history, bundle.read_json("verify.json") if "verify.json" in bundle else None)
    terminal.show(ladder_table(rows))
    terminal.finish({"rows": rows})
    return 0
