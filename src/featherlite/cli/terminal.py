"""What the user sees: tables and sentences on stdout, progress on stderr, or one JSON document and nothing else."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from featherlite.errors import FeatherliteError
from featherlite.step import Progress, Silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Bars", "Terminal"]


class Terminal:
    """The user's end of a command, in one of three manners: shown, quiet, or JSON."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._bars: Bars | None = None

    @property
    def console(self) -> Console:
        """Rich's console on stdout, at least 80 columns wide where the output is not a terminal."""
        from rich.console import Console

        return Console(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else 100)

    def show(self, *things: Any) -> None:
        """Shows sentences as they are, or tables; nothing where quiet or JSON was asked for."""
        if self.quiet or self.as_json:
            return
        for thing in things:
            if isinstance(thing, str):  # names of classes and files are not markup, and a line is for grep
                self.console.print(thing, markup=False, emoji=False, highlight=False, soft_wrap=True)
            else:
                self.console.print(thing)

    def finish(self, document: dict[str, Any]) -> None:
        """Ends a command: its JSON document is printed where one was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")

    def fail(self, error: FeatherliteError) -> None:
        """Tells an error: one clear line on stderr, and the errors document where JSON was asked for."""
        if self.as_json:
            details = {key: value for key, value in error.details.items() if key == "exports"}
            self.finish({**details, "error": error.to_json()})
        sys.stderr.write(f"error: {error.message}\n" + (f"  {error.hint}\n" if error.hint else ""))

    def progress(self) -> Progress:
        """Bars on stderr where that is a terminal, else nothing."""
        if not sys.stderr.isatty() or self.quiet:
            return Silent()
        self._bars = self._bars or Bars()
        return self._bars

    def close(self) -> None:
        """Takes the bars away, so that nothing is left on the screen."""
        if self._bars is not None:
            self._bars.finish()

    def log_to_stderr(self) -> None:
        """Sends the library's warnings to stderr, one line each."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logger = logging.getLogger("featherlite")
        logger.handlers[:] = [handler]
        logger.setLevel(logging.ERROR if self.quiet or self.as_json else logging.WARNING)
        logger.propagate = False


class Bars:
    """A progress with a bar, the count, the time left and a note; it vanishes when done."""

    def __init__(self) -> None:
        self._live: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, what: str, total: int) -> None:
        """Begins a bar of `total` units."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.finish()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        self._live = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._live.start()
        self._task = self._live.add_task(what, total=total, note="")

    def advance(self, units: int = 1, note: str = "") -> None:
        """Moves the bar on."""
        if self._live is not None and self._task is not None:
            self._live.update(self._task, advance=units)
            if note:
                self._live.update(self._task, note=note)

    def finish(self) -> None:
        """Takes the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None
