"""Writes docs/commands.md from the parsers themselves, so that the command reference cannot drift.

`python -m featherlite.cli.reference docs/commands.md` writes it; with `--check` it compares and ends with 1 where the
file is out of date.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path

from featherlite.cli import all_commands, overview
from featherlite.cli.step_command import step_parser
from featherlite.cli.terminal import Terminal
from featherlite.step import load_step, steps

__all__ = ["reference"]


def reference() -> str:
    """The command reference as Markdown: the overview, then the help of every command and step."""
    os.environ["COLUMNS"] = "110"  # argparse wraps by the terminal's width; the page must not
    parts = ["# Commands", "", "Generated from the parsers by `make docs`; do not edit.", ""]
    parts += ["```text", overview().rstrip(), "```", ""]
    for command in all_commands().values():
        parts += [f"## featherlite {command.name}", "", "```text", _command_help(command.module), "```", ""]
    for name in steps():
        if name in all_commands():  # the command is what a user meets; the step behind it has the same settings
            continue
        parts += [
            f"## featherlite {name}",
            "",
            "```text",
            step_parser(load_step(name), brief=True).format_help().rstrip(),
            "```",
            "",
        ]
    return "\n".join(parts)


def _command_help(module: str) -> str:
    """What `--help` of a command prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"], Terminal(quiet=True))
    return text.getvalue().rstrip()


def main(argv: list[str]) -> int:
    """Writes or checks the page; returns the exit code."""
    check = "--check" in argv
    path = Path(next(word for word in argv if not word.startswith("-")))
    text = reference()
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return 0
    if path.is_file() and path.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{path} is out of date. Run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
