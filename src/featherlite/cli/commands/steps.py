"""lists the steps: what each does, needs and provides"""

from __future__ import annotations

from featherlite.cli.arguments import parser
from featherlite.cli.terminal import Terminal


def main(argv: list[str], terminal: Terminal) -> int:
    """Shows the registry of steps; returns the exit code."""
    from rich.table import Table

    from featherlite.step import load_step, steps

    parser("featherlite steps", "List the steps.").parse_args(argv)
    table = Table("step", "room", "needs", "provides", "what it does", box=None, header_style="bold", pad_edge=False)
    rows = []
    for entry in steps().values():
        step = load_step(entry.name)
        needs, provides = sorted(step.needs), sorted(step.provides)
        table.add_row(entry.name, entry.room, ", ".join(needs), ", ".join(provides), entry.summary)
        rows.append(
            {
                "step": entry.name,
                "room": entry.room,
                "needs": needs,
                "provides": provides,
                "summary": entry.summary,
                "config": step.config.model_json_schema(),
            }
        )
    terminal.show(table)
    terminal.finish({"steps": rows})
    return 0
