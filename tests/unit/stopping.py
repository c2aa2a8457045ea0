"""A progress that kills: what a step has to survive."""

from __future__ import annotations

from featherlite.step import Silent

__all__ = ["StopError", "Stopping"]


class StopError(Exception):
    pass


class Stopping(Silent):
    """Interrupts after so many units of the stretches of work whose name begins like that."""

    def __init__(self, what: str, after: int) -> None:
        self.what, self.after, self.here = what, after, False

    def start(self, what: str, total: int) -> None:
        self.here = what.startswith(self.what)

    def advance(self, units: int = 1, note: str = "") -> None:
        self.after -= self.here
        if self.after < 0:
            raise StopError
