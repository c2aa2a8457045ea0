"""Any one step as a command: `featherlite STEP IN OUT [--key value ...]`.

The step's config gives the flags. A step that needs nothing starts a road and reads photos (`DATA [OUT]`); a step that
provides nothing only measures, so its OUT may be left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featherlite.cli.arguments import Parser, add_fields, parse, parser
from featherlite.cli.terminal import Terminal
from featherlite.step import Step, load_step

__all__ = ["run_step_command", "step_parser"]


def step_parser(step: Step) -> Parser:
    """The parser of a step's sub-command."""
    made = parser(f"featherlite {step.name}", step.summary)
    if step.needs:
        made.add_argument("source", metavar="IN", help="bundle to start from (a run's folder means its last bundle)")
        made.add_argument(
            "--data", metavar="PATH", help="the photos; remembered from the bundle's making on this machine"
        )
    else:
        made.add_argument("data", metavar="DATA", help="the photos: a folder per class, split folders, or a CSV")
    optional = not step.needs or not step.provides
    note = "new folder for the result" + ("; left out, nothing is kept" if optional else "")
    made.add_argument("out", metavar="OUT", nargs="?" if optional else None, help=note)
    if "seed" not in step.config.model_fields:
        made.add_argument("--seed", metavar="N", type=int, default=0, help="seed of everything random (default: 0)")
    add_fields(made, step.config)
    return made


def run_step_command(name: str, argv: list[str], terminal: Terminal) -> int:
    """Runs the step and shows its row; returns the exit code."""
    from featherlite.bundle import Bundle
    from featherlite.run import run_step

    step = load_step(name)
    values = vars(step_parser(step).parse_args(argv))
    config = parse(step.config, {key: values[key] for key in step.config.model_fields}, f"featherlite {name}")
    source, out = values.get("source"), values.get("out")
    bundle, report = run_step(
        name,
        Bundle.open(source) if source else None,
        Path(out) if out else None,
        config,
        data=Path(values["data"]) if values.get("data") else None,
        seed=values["seed"] if isinstance(values.get("seed"), int) else 0,
        progress=terminal.progress(),
    )
    terminal.close()
    document: dict[str, Any] = {**report.details, "step": name, "bundle": out, "row": report.model_dump(mode="json")}
    from featherlite.report.ladder import ladder_rows, ladder_table

    rows = ladder_rows(bundle.history, bundle.read_json("verify.json") if "verify.json" in bundle else None)
    terminal.show(ladder_table(rows))
    if out:
        terminal.show(f"Written to {out}.")
    terminal.finish(document)
    return 0
