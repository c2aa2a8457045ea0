"""The command line: finds the command or step by name, makes its arguments from types, and ends with the right code.

Exit codes: 0 done; 1 the work finished with failures that are listed; 2 the request was wrong; 130 interrupted.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featherlite.cli.terminal import Terminal

__all__ = ["Command", "all_commands", "main"]

GROUPS = {
    "demo": "Start here",
    "sample": "Start here",
    "data": "Your photos",
    "audit": "Your photos",
    "clean": "Your photos",
    "run": "The road",
    "compare": "The road",
    "predict": "Use a bundle",
    "attention": "Use a bundle",
    "find_rate": "Use a bundle",
    "quantization": "Use a bundle",
    "ladder": "Use a bundle",
    "report": "Use a bundle",
    "steps": "What there is",
    "recipes": "What there is",
    "models": "What there is",
}


RESUMABLE = ("run", "demo", "compare")
GO_ON = "Run the same command again to go on where it stopped."


@dataclass(frozen=True)
class Command:
    """A command as its file shows it: name, module, and one line of what it does."""

    name: str
    module: str
    summary: str


@cache
def all_commands() -> dict[str, Command]:
    """Every command that is not a step, by name. Reads their files; imports none."""
    found = {}
    for file in sorted((Path(__file__).parent / "commands").glob("[!_]*.py")):
        summary = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]
        found[file.stem] = Command(file.stem, f"featherlite.cli.commands.{file.stem}", summary)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] in ("--version", "-V"):
        from featherlite import __version__

        sys.stdout.write(f"featherlite {__version__}\n")
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's chatter is not for our users
    return _dispatch(words)


def overview() -> str:
    """The text of `featherlite --help`."""
    from featherlite.step import steps

    groups: dict[str, list[tuple[str, str]]] = {}
    for name, group in GROUPS.items():
        if name in all_commands():
            groups.setdefault(group, []).append((name, all_commands()[name].summary))
    for command in all_commands().values():
        if command.name not in GROUPS:
            groups.setdefault("More", []).append((command.name, command.summary))
    groups["Steps: featherlite STEP IN OUT"] = [
        (entry.name, entry.summary) for entry in steps().values() if entry.name not in all_commands()
    ]
    lines = ["usage: featherlite COMMAND [--help] [--json] [--quiet] ...", ""]
    lines += ["A folder of photos in; the smallest classifier that still tells the species apart out.", ""]
    width = max(len(name) for entries in groups.values() for name, _ in entries)
    for group, entries in groups.items():
        lines.append(f"{group}:")
        lines += [f"  {name:<{width}}  {summary}" for name, summary in entries]
        lines.append("")
    return "\n".join(lines)


def _dispatch(words: list[str]) -> int:
    """Runs the command or step that the words name; every way it can end has its exit code and its last line."""
    name = words[0].replace("-", "_")
    try:
        from featherlite.cli.arguments import normalized
        from featherlite.cli.terminal import Terminal
        from featherlite.errors import FeatherliteError, StoppedError, UnexpectedError

        rest = normalized(words[1:])
        terminal = Terminal(as_json="--json" in rest, quiet="--quiet" in rest)
        terminal.log_to_stderr()
        try:
            return _run(name, words[0], rest, terminal)
        except FeatherliteError as error:
            terminal.close()
            if "--debug" in rest:
                raise
            terminal.fail(error)
            return error.exit_code
        except KeyboardInterrupt:
            terminal.close()
            terminal.fail(StoppedError("Interrupted.", GO_ON if name in RESUMABLE else "Nothing was kept."))
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            terminal.close()
            if "--debug" in rest:
                raise
            terminal.fail(
                UnexpectedError(f"{type(error).__name__}: {error}", "This is a fault of featherlite. See --debug.")
            )
            return 1
        finally:
            terminal.close()
    except KeyboardInterrupt:  # before there was a terminal to tell it
        sys.stderr.write("Interrupted.\n")
        return 130


def _run(name: str, typed: str, rest: list[str], terminal: Terminal) -> int:
    from featherlite.errors import RequestError, did_you_mean
    from featherlite.step import steps

    if name in all_commands():
        return int(importlib.import_module(all_commands()[name].module).main(rest, terminal))
    if name in steps():
        from featherlite.cli.step_command import run_step_command

        return run_step_command(name, rest, terminal)
    raise RequestError(f"There is no command '{typed}'.", did_you_mean(name, [*all_commands(), *steps()]))
